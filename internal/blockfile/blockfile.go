// Package blockfile finds messages in the files in which nats-server keeps a
// JetStream stream, so that tests can damage them on purpose.
//
// The layout is that of nats-server 2.15.2 (filestore.go, writeMsgRecordLocked),
// for blocks that are neither encrypted nor compressed.
package blockfile

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Record is a message in a block.
type Record struct {
	File     string // the block
	Sequence uint64
	Subject  string

	// Where in the file the parts are: the record begins with a length of 4 bytes,
	// the sequence of 8, the time of 8, the subject's length of 2.
	Start, SubjectAt, HeadersAt, BodyAt, ChecksumAt, End int64
}

const (
	fixed    = 4 + 8 + 8 + 2
	checksum = 8

	hasHeaders = 1 << 31        // of the length
	removed    = 3 << 62        // of the sequence: an erased message, or a note of one
	longest    = (32 << 20) + 1 // of a record
)

// Dir is the directory of a JetStream stream in the global account, in the
// directory that a server was given to store in.
func Dir(storeDir, stream string) string {
	return filepath.Join(storeDir, "jetstream", "$G", "streams", stream)
}

// Blocks returns the blocks of a JetStream stream, oldest first.
func Blocks(storeDir, stream string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(Dir(storeDir, stream), "msgs", "*.blk"))
	if err != nil {
		return nil, err
	}
	number := func(path string) (n int) {
		_, _ = fmt.Sscanf(filepath.Base(path), "%d.blk", &n)
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return number(a) - number(b) })
	if len(found) == 0 {
		return nil, fmt.Errorf("no blocks in %s", Dir(storeDir, stream))
	}
	return found, nil
}

// Index is the file in which the server keeps the state of a JetStream stream when
// it is shut down.
func Index(storeDir, stream string) string {
	return filepath.Join(Dir(storeDir, stream), "msgs", "index.db")
}

// Records returns the messages of a JetStream stream, in order, without those that
// were removed.
func Records(storeDir, stream string) ([]Record, error) {
	blocks, err := Blocks(storeDir, stream)
	if err != nil {
		return nil, err
	}
	var all []Record
	for _, path := range blocks {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		for at := int64(0); at < int64(len(data)); {
			r, kept, err := parse(data, at)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			r.File = path
			if kept {
				all = append(all, r)
			}
			at = r.End
		}
	}
	return all, nil
}

func parse(data []byte, at int64) (r Record, kept bool, err error) {
	if int64(len(data))-at < fixed+checksum {
		return r, false, fmt.Errorf("%d bytes at %d are no record", int64(len(data))-at, at)
	}
	le := binary.LittleEndian
	length := le.Uint32(data[at:])
	size := int64(length &^ hasHeaders)
	subject := int64(le.Uint16(data[at+20:]))
	if size > longest || at+size > int64(len(data)) || fixed+subject+checksum > size {
		return r, false, fmt.Errorf("a record of %d bytes at %d", size, at)
	}
	seq := le.Uint64(data[at+4:])
	r = Record{Sequence: seq, Start: at, SubjectAt: at + fixed, ChecksumAt: at + size - checksum, End: at + size}
	r.HeadersAt = r.SubjectAt + subject
	r.Subject = string(data[r.SubjectAt:r.HeadersAt])
	r.BodyAt = r.HeadersAt
	if length&hasHeaders != 0 {
		r.HeadersAt += 4
		r.BodyAt = r.HeadersAt + int64(le.Uint32(data[r.HeadersAt-4:]))
	}
	return r, seq != 0 && seq&removed == 0, nil
}

// Flip inverts a bit of a file.
func Flip(path string, at int64, bit uint) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return err
	}
	b[0] ^= 1 << (bit % 8)
	_, err = f.WriteAt(b[:], at)
	return err
}
