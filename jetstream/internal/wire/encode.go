package wire

import (
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// Limits bound the messages of a commit.
type Limits struct {
	MaxMessageBytes  int // headers and body together: the server's max payload
	EventsPerMessage int // 0: as many as fit
	MaxMessages      int // of one commit, [MaxParts] at most
}

// reserved is kept free in the headers for those of the server that fence a
// message and make it part of an atomic batch: at most 59 + 53 + 27 + 22 bytes.
const reserved = 192

// EncodeMarker returns a marker's message. id tells it from other markers of the
// kind, so that a writer can recognise its own.
func EncodeMarker(kind Kind, id uuid.UUID, after State, chain []Link) Message {
	var h headers
	h.common(kind, after, chain)
	h.setNumber(HeaderVersion, after.Version)
	h.setID(HeaderID, &id)
	return Message{Header: h.values(), Body: oneByte()}
}

// EncodeEvents returns the messages of a commit of events, in order. before is
// the event stream's state before the commit; begin says that the commit begins
// it. The error is [backend.ErrEventTooLarge] or [backend.ErrAppendTooLarge].
//
// The bodies may share memory with the events' data.
func EncodeEvents(events []backend.UnsavedEvent, before State, begin bool, chain []Link, limits Limits) ([]Message, error) {
	one := oneMessage(events, limits)
	if one && len(events) == 1 {
		return []Message{encodeEvent(events, before, chain)}, nil
	}
	columns := makeColumns(events, limits)
	if one {
		return []Message{columns.message(0, len(events), before, chain, Part{})}, nil
	}
	cuts, err := columns.cut(commonBytes(before, chain), limits)
	if err != nil {
		return nil, err
	}
	messages := make([]Message, len(cuts))
	from := 0
	for i, to := range cuts {
		part := Part{}
		if len(cuts) > 1 {
			part = Part{Index: uint32(i + 1), Count: uint32(len(cuts)), Base: before.Version, Begin: begin}
		}
		messages[i] = columns.message(from, to, before, chain, part)
		from = to
	}
	return messages, nil
}

// encodeEvent makes the message of a commit of one event, as most are: what
// columns would make, with less ado.
func encodeEvent(events []backend.UnsavedEvent, before State, chain []Link) Message {
	e := &events[0]
	var h headers
	h.grow(chain, 3*idStride+len(timeLayout)+len(e.EventType)+len(e.Metadata))
	h.common(Events, before, chain)
	h.setNumber(HeaderVersion, before.Version+1)
	h.setID(HeaderID, &e.EventUUID)
	h.set(HeaderType, escape(e.EventType, true))
	h.setTime(HeaderCreated, e.CreatedAt)
	if e.CausationID != uuid.Nil {
		h.setID(HeaderCausation, &e.CausationID)
	}
	if e.CorrelationID != uuid.Nil {
		h.setID(HeaderCorrelation, &e.CorrelationID)
	}
	if len(e.Metadata) > 0 {
		h.set(HeaderMetadata, escape(string(e.Metadata), false))
	}
	if len(e.Data) == 0 {
		h.set(HeaderSize, "0")
	}
	return Message{Header: h.values(), Body: body(events)}
}

// message makes the message of the events from one on, before another.
func (c *columns) message(from, to int, before State, chain []Link, part Part) Message {
	var h headers
	h.grow(chain, 200+(idStride+len("65536,"))*(to-from)) // where most values are the same for all events
	h.common(Events, before, chain)
	if part.Count > 0 {
		h.set(HeaderPart, partValue(part))
	}
	h.setNumber(HeaderVersion, before.Version+uint64(to))
	c.set(&h, from, to)
	return Message{Header: h.values(), Body: body(c.events[from:to])}
}

// CheckEvents returns the error that [EncodeEvents] returns where the headers
// that don't depend on the events are as long as can be, so that what can be
// appended doesn't hang on the event stream. It is cheap for what is small.
func CheckEvents(events []backend.UnsavedEvent, limits Limits) error {
	if oneMessage(events, limits) {
		return nil
	}
	version := math.MaxUint64 - 1 - uint64(len(events))
	longest := State{Version: version, First: version, ID: math.MaxUint64, Created: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)}
	chain := make([]Link, MaxChain)
	for i := range chain {
		chain[i] = Link{Position: math.MaxUint64, Events: math.MaxUint32, Parts: MaxParts}
	}
	columns := makeColumns(events, limits)
	_, err := columns.cut(commonBytes(longest, chain), limits)
	return err
}

// oneMessage reports whether events go into one message for certain, whatever
// comes before them. It is cheap, and nearly always says so.
func oneMessage(events []backend.UnsavedEvent, limits Limits) bool {
	if len(events) == 0 || limits.MaxMessages < 1 || limits.EventsPerMessage > 0 && len(events) > limits.EventsPerMessage {
		return false
	}
	const (
		common = 2 << 10 // the headers that don't depend on the events, and all headers' names
		each   = 3*idStride + len(timeLayout) + len(",4294967296") + len(",,")
	)
	header, data := common, 0
	for i := range events {
		e := &events[i]
		header += each + 3*(len(e.EventType)+len(e.Metadata)) // %XX is the longest that a byte becomes
		data += len(e.Data) + 1
	}
	return header <= MaxHeaderBytes && header+data <= limits.MaxMessageBytes
}

func partValue(p Part) string {
	s := strconv.FormatUint(uint64(p.Index), 10) + "/" + strconv.FormatUint(uint64(p.Count), 10)
	if p.Begin {
		return s + " new"
	}
	return s + " " + strconv.FormatUint(p.Base, 10)
}

// line is the size of a header line: name, colon, blank, value, line break.
func line(name string, value int) int { return len(name) + value + 4 }

func digits(n uint64) int {
	d := 1
	for ; n >= 10; n /= 10 {
		d++
	}
	return d
}

func oneByte() []byte { return []byte{'\n'} }

// body joins the events' data with line breaks. It is never empty: clients take
// an empty message with certain headers for a control message.
func body(events []backend.UnsavedEvent) []byte {
	if len(events) == 1 {
		if len(events[0].Data) == 0 {
			return oneByte()
		}
		return events[0].Data
	}
	size := len(events) - 1
	for i := range events {
		size += len(events[i].Data)
	}
	b := make([]byte, 0, size)
	for i := range events {
		if i > 0 {
			b = append(b, '\n')
		}
		b = append(b, events[i].Data...)
	}
	return b
}
