package wire

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// eventValues goes through the columns of a message, event by event.
type eventValues struct {
	id, typ, created, causation, correlation, metadata, size list

	event backend.RecordedEvent // as the columns tell, of the event that was read last
	left  int                   // events that were not read yet
	spare []byte                // for metadata
}

// list is a column written as a list. One value stands for all events.
type list struct {
	rest  string
	value string // that was read last
	same  bool
}

// next reads the next value and reports whether it is another than the one
// before: neighbours often have the same.
func (l *list) next() bool {
	if l.same {
		first := l.value != l.rest
		l.value = l.rest
		return first
	}
	before := l.value
	l.value, l.rest, _ = strings.Cut(l.rest, ",")
	return l.value != before
}

// nextNumber returns the next value as a number; that it is one was checked.
func (l *list) nextNumber() int {
	l.next()
	n, _ := strconv.Atoi(l.value)
	return n
}

// read begins to go through the columns of r.
func (v *eventValues) read(r *Record) error {
	v.left = r.Events
	v.id.rest, v.size.rest = r.ids, r.sizes
	if err := v.typ.read(r, HeaderType); err != nil {
		return err
	}
	if err := v.created.read(r, HeaderCreated); err != nil {
		return err
	}
	if err := v.causation.read(r, HeaderCausation); err != nil {
		return err
	}
	if err := v.correlation.read(r, HeaderCorrelation); err != nil {
		return err
	}
	return v.metadata.read(r, HeaderMetadata)
}

func (l *list) read(r *Record, name string) error {
	value, err := r.one(name)
	if err != nil {
		return err
	}
	l.rest = value
	if r.Events == 1 && name == HeaderMetadata { // whose commas are its own
		l.same = true
		return nil
	}
	switch count := strings.Count(value, ",") + 1; count {
	case 1:
		l.same = true
	case r.Events:
	default:
		return fmt.Errorf("%w: %d events, %d values in %s", ErrMalformed, r.Events, count, name)
	}
	return nil
}

// next reads what the headers tell of the next event.
func (v *eventValues) next() error {
	e := &v.event
	var err error
	v.id.next()
	if e.EventUUID, err = parseID(HeaderID, v.id.value); err != nil {
		return err
	}
	if e.EventUUID == uuid.Nil {
		return fmt.Errorf("%w: an empty id in %s", ErrMalformed, HeaderID)
	}
	if v.typ.next() {
		if e.EventType, err = unescape(v.typ.value); err != nil {
			return err
		}
	}
	if e.EventType == "" {
		return fmt.Errorf("%w: an event without a type", ErrMalformed)
	}
	if v.created.next() || v.created.value == "" {
		if e.CreatedAt, err = parseTime(HeaderCreated, v.created.value); err != nil {
			return err
		}
	}
	if v.causation.next() {
		if e.CausationID, err = parseID(HeaderCausation, v.causation.value); err != nil {
			return err
		}
	}
	if v.correlation.next() {
		if e.CorrelationID, err = parseID(HeaderCorrelation, v.correlation.value); err != nil {
			return err
		}
	}
	v.metadata.next()
	e.Metadata, err = v.bytes(v.metadata.value)
	v.left--
	return err
}

// spareBytes is how much memory the metadata of several events share at most.
const spareBytes = 4 << 10

// bytes returns the bytes of a text of the metadata's column, nil where there
// are none. They are in memory that is the event's alone.
func (v *eventValues) bytes(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	if cap(v.spare)-len(v.spare) < len(text) {
		all := len(text) + len(v.metadata.rest)
		if v.metadata.same {
			all = len(text) * v.left
		}
		v.spare = make([]byte, 0, max(len(text), min(all, spareBytes)))
	}
	start := len(v.spare)
	var err error
	if v.spare, err = appendUnescaped(v.spare, text); err != nil {
		return nil, err
	}
	end := len(v.spare)
	return v.spare[start:end:end], nil
}
