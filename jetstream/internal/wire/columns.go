package wire

import (
	"bytes"
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// column holds one property of the events of a commit, as it is written. Where
// all events of a message have the same value it is written once, for all of
// them; where none has one, not at all.
type column struct {
	name   string
	values []string
	joined string // of ids, always written as a list: that list; else empty
}

// columns are the properties of the events of a commit.
type columns struct {
	events []backend.UnsavedEvent
	all    [6]column // id, type, created, causation, correlation, metadata
}

func makeColumns(events []backend.UnsavedEvent, limits Limits) columns {
	n := len(events)
	several := n > 1 && limits.EventsPerMessage != 1 // events in a message
	c := columns{events: events}
	values := make([]string, 6*n)
	for i, name := range [...]string{HeaderID, HeaderType, HeaderCreated, HeaderCausation, HeaderCorrelation, HeaderMetadata} {
		c.all[i] = column{name: name, values: values[i*n : (i+1)*n : (i+1)*n]}
	}
	id, typ, created, causation, correlation, metadata := &c.all[0], &c.all[1], &c.all[2], &c.all[3], &c.all[4], &c.all[5]
	id.joined = joinIDs(events)
	for i := range events {
		e, before := &events[i], &events[max(i-1, 0)] // the first has none before it
		id.values[i] = id.joined[i*idStride : (i+1)*idStride-1]
		typ.values[i] = escape(e.EventType, true)
		if i > 0 && e.CreatedAt.Equal(before.CreatedAt) {
			created.values[i] = created.values[i-1]
		} else {
			created.values[i] = timeValue(e.CreatedAt)
		}
		if i > 0 && e.CausationID == before.CausationID {
			causation.values[i] = causation.values[i-1]
		} else {
			causation.values[i] = idValue(e.CausationID)
		}
		if i > 0 && e.CorrelationID == before.CorrelationID {
			correlation.values[i] = correlation.values[i-1]
		} else {
			correlation.values[i] = idValue(e.CorrelationID)
		}
		if i > 0 && bytes.Equal(e.Metadata, before.Metadata) {
			metadata.values[i] = metadata.values[i-1]
		} else {
			metadata.values[i] = escape(string(e.Metadata), several)
		}
	}
	return c
}

// idStride is an id and the comma after it.
const idStride = 36 + 1

// joinIDs returns the ids as a list, with a comma after the last, too.
func joinIDs(events []backend.UnsavedEvent) string {
	b := make([]byte, 0, idStride*len(events))
	for i := range events {
		b = append(appendID(b, &events[i].EventUUID), ',')
	}
	return string(b)
}

// appendID appends an id as uuid.UUID.String writes it.
func appendID(b []byte, id *uuid.UUID) []byte {
	b = append(hex.AppendEncode(b, id[:4]), '-')
	b = append(hex.AppendEncode(b, id[4:6]), '-')
	b = append(hex.AppendEncode(b, id[6:8]), '-')
	b = append(hex.AppendEncode(b, id[8:10]), '-')
	return hex.AppendEncode(b, id[10:])
}

func idValue(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}

// cut divides the events into messages, and returns where the events of each end.
func (c *columns) cut(common int, limits Limits) ([]int, error) {
	var ends []int
	for from := 0; from < len(c.events); {
		n, err := c.fit(from, common, limits)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", from, err)
		}
		from += n
		ends = append(ends, from)
	}
	if most := min(limits.MaxMessages, MaxParts); len(ends) > most {
		return nil, fmt.Errorf("%w: %d events need %d messages, limit %d", backend.ErrAppendTooLarge, len(c.events), len(ends), most)
	}
	return ends, nil
}

// fit returns how many events, from one on, go into one message beside common
// bytes of headers. The error is [backend.ErrEventTooLarge] where not one does.
func (c *columns) fit(from, common int, limits Limits) (int, error) {
	most := len(c.events) - from
	if limits.EventsPerMessage > 0 {
		most = min(most, limits.EventsPerMessage)
	}
	var (
		same     [len(c.all)]bool // the values so far are all the same
		sum      [len(c.all)]int  // their bytes
		sizes    int              // bytes of the list of data sizes
		bodySize = -1             // the joining line breaks are one fewer than events
	)
	for n := 1; n <= most; n++ {
		i := from + n - 1
		header := common
		for k := range c.all {
			col := &c.all[k]
			same[k] = n == 1 || same[k] && col.values[i] == col.values[from]
			sum[k] += len(col.values[i])
			header += col.bytes(n, same[k], sum[k], len(col.values[from]))
		}
		data := len(c.events[i].Data)
		sizes += digits(uint64(data)) + 1
		header += line(HeaderSize, sizes)
		bodySize += data + 1
		if header <= MaxHeaderBytes && header+max(bodySize, 1) <= limits.MaxMessageBytes {
			continue
		}
		if n > 1 {
			return n - 1, nil
		}
		return 0, fmt.Errorf("%w: %d bytes with %d of headers, limit %d with %d of headers", backend.ErrEventTooLarge,
			header+max(bodySize, 1), header, limits.MaxMessageBytes, MaxHeaderBytes)
	}
	return most, nil
}

// bytes is what the column takes in the headers of a message of n events.
func (col *column) bytes(n int, same bool, sum, first int) int {
	list := col.joined != ""
	switch {
	case same && !list && first == 0:
		return 0
	case same && !list:
		return line(col.name, first)
	}
	return line(col.name, sum+n-1)
}

// set writes the headers of the events from one on, before another.
func (c *columns) set(h *headers, from, to int) {
	for k := range c.all {
		c.all[k].set(h, from, to)
	}
	if to-from > 1 || len(c.events[from].Data) == 0 {
		for i := from; i < to; i++ {
			if i > from {
				h.text.WriteByte(',')
			}
			h.writeNumber(uint64(len(c.events[i].Data)))
		}
		h.end(HeaderSize)
	}
}

func (col *column) set(h *headers, from, to int) {
	values := col.values[from:to:to]
	switch {
	case col.joined != "":
		h.set(col.name, col.joined[from*idStride:to*idStride-1])
	case !allSame(values):
		for i, value := range values {
			if i > 0 {
				h.text.WriteByte(',')
			}
			h.text.WriteString(value)
		}
		h.end(col.name)
	case values[0] != "":
		h.set(col.name, values[0])
	}
}

func allSame(values []string) bool {
	for _, v := range values[1:] {
		if v != values[0] {
			return false
		}
	}
	return true
}
