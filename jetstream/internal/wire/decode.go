package wire

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// Record is a message, decoded as far as the event stream's state goes. Its
// events are decoded by [Record.AppendEvents].
type Record struct {
	Kind   Kind
	State  State
	Part   Part // zero Count: a commit of one message
	Events int  // how many events the message has

	ids    string // as in the header
	sizes  string
	header map[string][]string
	body   []byte
}

// FirstVersion is the version of the message's first event.
func (r *Record) FirstVersion() uint64 { return r.State.Version - uint64(r.Events) + 1 }

// MarkerID returns the id of a marker, or of the first event.
func (r *Record) MarkerID() (uuid.UUID, error) {
	first, _, _ := strings.Cut(r.ids, ",")
	return parseID(HeaderID, first)
}

// Decoder decodes messages one after the other. What those of an event stream
// have in common it decodes once. The zero value is ready for use.
type Decoder struct {
	stream string // HeaderStream as it was last, and what it says
	id     uint64
	began  time.Time
}

// Decode is [Decoder.Decode] of a single message.
func Decode(header map[string][]string, body []byte) (Record, error) {
	return new(Decoder).Decode(header, body)
}

// Decode decodes a message. The record keeps header and body. Every error is
// [ErrMalformed], with what is wrong.
func (d *Decoder) Decode(header map[string][]string, body []byte) (Record, error) {
	r := Record{header: header, body: body}
	if err := r.decodeCommit(); err != nil {
		return Record{}, err
	}
	if err := d.decodeStream(&r); err != nil {
		return Record{}, err
	}
	if err := r.decodeState(); err != nil {
		return Record{}, err
	}
	if r.Kind != Events {
		if id, err := parseID(HeaderID, r.ids); err != nil || id == uuid.Nil {
			return Record{}, fmt.Errorf("%w: bad %s of a marker: %.80q", ErrMalformed, HeaderID, r.ids)
		}
		return r, nil
	}
	if err := r.decodeShape(); err != nil {
		return Record{}, err
	}
	return r, nil
}

// one returns the only value of a header, or "" where there is none.
func (r *Record) one(name string) (string, error) {
	switch values := r.header[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", fmt.Errorf("%w: %d values of %s", ErrMalformed, len(values), name)
	}
}

func (r *Record) decodeCommit() error {
	value, err := r.one(HeaderCommit)
	if err != nil {
		return err
	}
	if value == commitEvents {
		return nil
	}
	if value == "" {
		return fmt.Errorf("%w: no %s", ErrMalformed, HeaderCommit)
	}
	version, kind, _ := strings.Cut(value, " ")
	if version != "1" {
		return fmt.Errorf("%w: format version %.20q, this reads 1", ErrOtherFormat, version)
	}
	i := slices.Index(kindNames[:], kind)
	if i < 0 {
		return fmt.Errorf("%w: unknown kind %.40q", ErrMalformed, kind)
	}
	r.Kind = Kind(i)
	return nil
}

func (d *Decoder) decodeStream(r *Record) error {
	value, err := r.one(HeaderStream)
	if err != nil {
		return err
	}
	if value != d.stream || value == "" {
		first, second, ok := strings.Cut(value, " ")
		id, err := strconv.ParseUint(first, 10, 64)
		if !ok || err != nil || id == 0 {
			return fmt.Errorf("%w: bad %s %.80q", ErrMalformed, HeaderStream, value)
		}
		began, err := parseTime(HeaderStream, second)
		if err != nil {
			return err
		}
		d.stream, d.id, d.began = value, id, began
	}
	r.State.ID, r.State.Created = d.id, d.began
	return nil
}

func (r *Record) decodeState() error {
	s := &r.State
	var err error
	if s.Version, err = r.number(HeaderVersion); err != nil {
		return err
	}
	s.First = 1
	if r.header[HeaderFirst] != nil {
		if s.First, err = r.number(HeaderFirst); err != nil {
			return err
		}
		if s.First < 1 || s.First-1 > s.Version {
			return fmt.Errorf("%w: %s %d of version %d", ErrMalformed, HeaderFirst, s.First, s.Version)
		}
	}
	if value, err := r.one(HeaderDeleted); err != nil {
		return err
	} else if value != "" {
		if s.Deleted, err = parseTime(HeaderDeleted, value); err != nil {
			return err
		}
	}
	if r.ids, err = r.one(HeaderID); err != nil {
		return err
	}
	return nil
}

// Chain returns the commits before, newest first, as far as the header can be
// read: it is a hint. A scan never needs it, so it isn't decoded with the rest.
func (r *Record) Chain() []Link {
	values := r.header[HeaderChain]
	if len(values) != 1 || values[0] == "" {
		return nil
	}
	chain := make([]Link, 0, min(strings.Count(values[0], " ")+1, MaxChain))
	for entry := range strings.SplitSeq(values[0], " ") {
		position, rest, _ := strings.Cut(entry, ":")
		events, parts, several := strings.Cut(rest, ":")
		l := Link{Parts: 1}
		var err error
		if l.Position, err = strconv.ParseUint(position, 10, 64); err != nil || l.Position == 0 {
			break
		}
		n, err := strconv.ParseUint(events, 10, 32)
		if err != nil || n == 0 {
			break
		}
		l.Events = uint32(n)
		if several {
			n, err := strconv.ParseUint(parts, 10, 32)
			if err != nil || n == 0 || n > MaxParts || n > l.Position {
				break
			}
			l.Parts = uint32(n)
		}
		if len(chain) == MaxChain {
			break
		}
		chain = append(chain, l)
	}
	return chain
}

// decodeShape finds how many events the message has, and that the body has them.
func (r *Record) decodeShape() error {
	if r.ids == "" {
		return fmt.Errorf("%w: no %s", ErrMalformed, HeaderID)
	}
	r.Events = strings.Count(r.ids, ",") + 1
	if uint64(r.Events) > r.State.Version {
		return fmt.Errorf("%w: %d events up to version %d", ErrMalformed, r.Events, r.State.Version)
	}
	if err := r.decodePart(); err != nil {
		return err
	}
	var err error
	if r.sizes, err = r.one(HeaderSize); err != nil {
		return err
	}
	if r.sizes == "" {
		if r.Events == 1 && len(r.body) > 0 {
			return nil
		}
		return fmt.Errorf("%w: no %s", ErrMalformed, HeaderSize)
	}
	total, count := uint64(r.Events-1), 0
	for value := range strings.SplitSeq(r.sizes, ",") {
		size, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return fmt.Errorf("%w: bad %s %.40q", ErrMalformed, HeaderSize, value)
		}
		total += size
		count++
	}
	if count != r.Events || max(total, 1) != uint64(len(r.body)) {
		return fmt.Errorf("%w: %d events, %d sizes which make %d bytes, a body of %d", ErrMalformed, r.Events, count, max(total, 1), len(r.body))
	}
	return nil
}

func (r *Record) decodePart() error {
	value, err := r.one(HeaderPart)
	if err != nil || value == "" {
		return err
	}
	place, base, _ := strings.Cut(value, " ")
	index, count, _ := strings.Cut(place, "/")
	i, err1 := strconv.ParseUint(index, 10, 32)
	n, err2 := strconv.ParseUint(count, 10, 32)
	p := Part{Index: uint32(i), Count: uint32(n), Begin: base == "new"}
	var err3 error
	if !p.Begin {
		p.Base, err3 = strconv.ParseUint(base, 10, 64)
	}
	if err1 != nil || err2 != nil || err3 != nil || i < 1 || i > n || n < 2 || n > MaxParts || p.Base > r.State.Version-uint64(r.Events) {
		return fmt.Errorf("%w: bad %s %.80q", ErrMalformed, HeaderPart, value)
	}
	r.Part = p
	return nil
}

func (r *Record) number(name string) (uint64, error) {
	value, err := r.one(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n == math.MaxUint64 {
		return 0, fmt.Errorf("%w: bad %s %.40q", ErrMalformed, name, value)
	}
	return n, nil
}

func parseTime(name, value string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, value)
	t = t.UTC()
	// Other years couldn't be written again, as the event stream's state is with
	// each message.
	if year := t.Year(); err != nil || year < 1 || year > 9999 {
		return time.Time{}, fmt.Errorf("%w: bad time in %s: %.80q", ErrMalformed, name, value)
	}
	return t, nil
}

func parseID(name, value string) (uuid.UUID, error) {
	if value == "" {
		return uuid.Nil, nil
	}
	id, err := uuid.Parse(value)
	if err != nil || len(value) != len("00000000-0000-0000-0000-000000000000") {
		return uuid.Nil, fmt.Errorf("%w: bad id in %s: %.80q", ErrMalformed, name, value)
	}
	return id, nil
}

// AppendEvents appends the message's events whose version is from from to to,
// inclusive. common holds what the format does not: it is copied into each
// event. The events' data share memory with the message's body.
func (r *Record) AppendEvents(dst []backend.RecordedEvent, common backend.RecordedEvent, from, to uint64) ([]backend.RecordedEvent, error) {
	version := r.FirstVersion()
	if r.Kind != Events || from > r.State.Version || to < version || from > to {
		return dst, nil
	}
	v := eventValues{event: backend.RecordedEvent{StreamUUID: common.StreamUUID, Position: common.Position, RecordedAt: common.RecordedAt}}
	if err := v.read(r); err != nil {
		return dst, err
	}
	offset := 0
	for range r.Events {
		size := len(r.body)
		if r.sizes != "" {
			size = v.size.nextNumber()
		}
		if version > to {
			break
		}
		if err := v.next(); err != nil {
			return dst, err
		}
		if version >= from {
			e := &v.event
			e.EventNumber, e.StreamVersion = version, version
			e.Data = nil
			if size > 0 {
				e.Data = r.body[offset : offset+size : offset+size]
			}
			dst = append(dst, *e)
		}
		offset += size + 1
		version++
	}
	return dst, nil
}
