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

	// The values of the event before: neighbours often have the same.
	last                               backend.RecordedEvent
	lastCreated, lastCausation, lastCo string
}

// list is a column written as a list. One value stands for all events.
type list struct {
	rest string
	same bool
}

func (l *list) next() string {
	if l.same {
		return l.rest
	}
	value, rest, _ := strings.Cut(l.rest, ",")
	l.rest = rest
	return value
}

// nextNumber returns the next value as a number; that it is one was checked.
func (l *list) nextNumber() int {
	n, _ := strconv.Atoi(l.next())
	return n
}

func (r *Record) values() (*eventValues, error) {
	v := &eventValues{id: list{rest: r.ids}, size: list{rest: r.sizes}}
	for _, column := range []struct {
		name string
		list *list
	}{
		{HeaderType, &v.typ}, {HeaderCreated, &v.created}, {HeaderCausation, &v.causation}, {HeaderCorrelation, &v.correlation},
		{HeaderMetadata, &v.metadata},
	} {
		value, err := r.one(column.name)
		if err != nil {
			return nil, err
		}
		count := strings.Count(value, ",") + 1
		switch {
		case count == 1, column.list == &v.metadata && r.Events == 1: // whose commas are its own
			*column.list = list{rest: value, same: true}
		case count == r.Events:
			*column.list = list{rest: value}
		default:
			return nil, fmt.Errorf("%w: %d events, %d values in %s", ErrMalformed, r.Events, count, column.name)
		}
	}
	return v, nil
}

// next returns what the headers tell of the next event.
func (v *eventValues) next() (backend.RecordedEvent, error) {
	e := &v.last
	var err error
	if e.EventUUID, err = parseID(HeaderID, v.id.next()); err != nil {
		return *e, err
	}
	if e.EventUUID == uuid.Nil {
		return *e, fmt.Errorf("%w: an empty id in %s", ErrMalformed, HeaderID)
	}
	if e.EventType, err = unescape(v.typ.next()); err != nil {
		return *e, err
	}
	if e.EventType == "" {
		return *e, fmt.Errorf("%w: an event without a type", ErrMalformed)
	}
	if value := v.created.next(); value != v.lastCreated || value == "" {
		if e.CreatedAt, err = parseTime(HeaderCreated, value); err != nil {
			return *e, err
		}
		v.lastCreated = value
	}
	if value := v.causation.next(); value != v.lastCausation {
		if e.CausationID, err = parseID(HeaderCausation, value); err != nil {
			return *e, err
		}
		v.lastCausation = value
	}
	if value := v.correlation.next(); value != v.lastCo {
		if e.CorrelationID, err = parseID(HeaderCorrelation, value); err != nil {
			return *e, err
		}
		v.lastCo = value
	}
	metadata, err := unescape(v.metadata.next())
	if err != nil {
		return *e, err
	}
	e.Metadata = nil
	if metadata != "" {
		e.Metadata = []byte(metadata)
	}
	return *e, nil
}
