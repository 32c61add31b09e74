package wire

import (
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// maxHeaders is how many headers a message has at most.
const maxHeaders = 14

// headers are the headers of a message in the making. Their values are written
// one after the other, and cut apart in the end, so that they are few pieces of
// memory: an append is short enough to feel each.
type headers struct {
	text  strings.Builder    // all values
	names [maxHeaders]string // of the headers, in the order of their values
	ends  [maxHeaders]int    // where in text each value ends
	n     int                // how many there are
}

// grow makes room for the values of the headers that don't depend on events, and
// for more bytes.
func (h *headers) grow(chain []Link, more int) {
	const always, link = 100, len("1234567:1 ")
	h.text.Grow(always + link*len(chain) + more)
}

// end ends the value of a header, which begins where the one before ended.
func (h *headers) end(name string) {
	h.names[h.n], h.ends[h.n] = name, h.text.Len()
	h.n++
}

func (h *headers) set(name, value string) {
	h.text.WriteString(value)
	h.end(name)
}

func (h *headers) setNumber(name string, n uint64) {
	h.writeNumber(n)
	h.end(name)
}

func (h *headers) setID(name string, id *uuid.UUID) {
	var written [idStride]byte
	h.text.Write(appendID(written[:0], id))
	h.end(name)
}

func (h *headers) setTime(name string, t time.Time) {
	var written [len(timeLayout)]byte
	h.text.Write(t.UTC().AppendFormat(written[:0], timeLayout))
	h.end(name)
}

func (h *headers) writeNumber(n uint64) {
	var digits [20]byte
	h.text.Write(strconv.AppendUint(digits[:0], n, 10))
}

// values returns the headers, with room for one more: the fence.
func (h *headers) values() map[string][]string {
	text := h.text.String()
	values := make(map[string][]string, h.n+1)
	slab := make([]string, h.n) // what all the lists are cut from
	start := 0
	for i, end := range h.ends[:h.n] {
		slab[i] = text[start:end]
		values[h.names[i]] = slab[i : i+1 : i+1]
		start = end
	}
	return values
}

// common sets the headers that all messages of a commit have in common.
func (h *headers) common(kind Kind, s State, chain []Link) {
	h.set(HeaderCommit, commitValue(kind))
	h.writeNumber(s.ID)
	h.text.WriteByte(' ')
	h.setTime(HeaderStream, s.Created)
	if s.First > 1 {
		h.setNumber(HeaderFirst, s.First)
	}
	if !s.Deleted.IsZero() {
		h.setTime(HeaderDeleted, s.Deleted)
	}
	if len(chain) > 0 {
		h.setChain(chain)
	}
}

func (h *headers) setChain(chain []Link) {
	var written [MaxChain * len("1234567890:1 ")]byte // mostly enough
	b := written[:0]
	for i, l := range chain[:min(len(chain), MaxChain)] {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(strconv.AppendUint(b, l.Position, 10), ':')
		b = strconv.AppendUint(b, uint64(l.Events), 10)
		if l.Parts > 1 {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(l.Parts), 10)
		}
	}
	h.text.Write(b)
	h.end(HeaderChain)
}

// commonBytes bounds what the headers of a message of a commit take that do not
// depend on the events.
func commonBytes(before State, chain []Link) int {
	var h headers
	h.common(Events, before, chain)
	const statusLine = len("NATS/1.0\r\n\r\n")
	const number = 20 // digits of the greatest
	n := statusLine + reserved + line(HeaderVersion, number) + line(HeaderPart, len("1000/1000 ")+number) + h.text.Len()
	for _, name := range h.names[:h.n] {
		n += line(name, 0)
	}
	return n
}

// commitEvents says what nearly every message is.
const commitEvents = "1 events"

// commitValue says what a message is: the format's version, and the kind.
func commitValue(kind Kind) string {
	if kind == Events {
		return commitEvents
	}
	return "1 " + kind.String()
}

// timeLayout is how times are written, in UTC: the format has no zones.
const timeLayout = time.RFC3339Nano

func timeValue(t time.Time) string { return t.UTC().Format(timeLayout) }
