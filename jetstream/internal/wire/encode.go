package wire

import (
	"maps"
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
	h := commonHeaders(kind, after, chain)
	set(h, HeaderVersion, strconv.FormatUint(after.Version, 10))
	set(h, HeaderID, id.String())
	return Message{Header: h, Body: oneByte()}
}

// EncodeEvents returns the messages of a commit of events, in order. before is
// the event stream's state before the commit; begin says that the commit begins
// it. The error is [backend.ErrEventTooLarge] or [backend.ErrAppendTooLarge].
//
// The bodies may share memory with the events' data.
func EncodeEvents(events []backend.UnsavedEvent, before State, begin bool, chain []Link, limits Limits) ([]Message, error) {
	columns := makeColumns(events, limits)
	common := commonHeaders(Events, before, chain)
	cuts, err := columns.cut(boundBytes(common), limits)
	if err != nil {
		return nil, err
	}
	messages := make([]Message, len(cuts))
	from := 0
	for i, to := range cuts {
		h := common
		if len(cuts) > 1 {
			h = maps.Clone(common)
			set(h, HeaderPart, partValue(Part{Index: uint32(i + 1), Count: uint32(len(cuts)), Base: before.Version, Begin: begin}))
		}
		set(h, HeaderVersion, strconv.FormatUint(before.Version+uint64(to), 10))
		columns.set(h, from, to)
		messages[i] = Message{Header: h, Body: body(events[from:to])}
		from = to
	}
	return messages, nil
}

// CheckEvents returns the error that [EncodeEvents] returns where the headers
// that don't depend on the events are as long as can be, so that what can be
// appended doesn't hang on the event stream. It is cheap for what is small.
func CheckEvents(events []backend.UnsavedEvent, limits Limits) error {
	const headers = 1 << 10 // of an event, type and metadata apart, and of the message
	size := headers
	for i := range events {
		e := &events[i]
		size += headers + len(e.Data) + 3*(len(e.Metadata)+len(e.EventType))
	}
	messages := 1
	if limits.EventsPerMessage > 0 {
		messages = (len(events) + limits.EventsPerMessage - 1) / limits.EventsPerMessage
	}
	if size <= min(limits.MaxMessageBytes, MaxHeaderBytes) && messages <= limits.MaxMessages {
		return nil
	}
	version := math.MaxUint64 - 1 - uint64(len(events))
	longest := State{Version: version, First: version, ID: math.MaxUint64, Created: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)}
	chain := make([]Link, MaxChain)
	for i := range chain {
		chain[i] = Link{Position: math.MaxUint64, Events: math.MaxUint32, Parts: MaxParts}
	}
	_, err := makeColumns(events, limits).cut(boundBytes(commonHeaders(Events, longest, chain)), limits)
	return err
}

func set(h map[string][]string, name, value string) { h[name] = []string{value} }

func commitValue(kind Kind) string {
	if kind == Events {
		return "1 events"
	}
	return "1 " + kind.String()
}

func partValue(p Part) string {
	s := strconv.FormatUint(uint64(p.Index), 10) + "/" + strconv.FormatUint(uint64(p.Count), 10)
	if p.Begin {
		return s + " new"
	}
	return s + " " + strconv.FormatUint(p.Base, 10)
}

// commonHeaders are the headers that all messages of a commit have in common.
func commonHeaders(kind Kind, s State, chain []Link) map[string][]string {
	h := make(map[string][]string, 12)
	set(h, HeaderCommit, commitValue(kind))
	set(h, HeaderStream, streamValue(s))
	if s.First > 1 {
		set(h, HeaderFirst, strconv.FormatUint(s.First, 10))
	}
	if !s.Deleted.IsZero() {
		set(h, HeaderDeleted, timeValue(s.Deleted))
	}
	if len(chain) > 0 {
		set(h, HeaderChain, chainValue(chain))
	}
	return h
}

// timeValue writes times in UTC: the format has no zones.
func timeValue(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func streamValue(s State) string {
	var buf [64]byte
	b := strconv.AppendUint(buf[:0], s.ID, 10)
	b = append(b, ' ')
	return string(s.Created.UTC().AppendFormat(b, time.RFC3339Nano))
}

func chainValue(chain []Link) string {
	if len(chain) > MaxChain {
		chain = chain[:MaxChain]
	}
	var buf [256]byte
	b := buf[:0]
	for i, l := range chain {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendUint(b, l.Position, 10)
		b = append(b, ':')
		b = strconv.AppendUint(b, uint64(l.Events), 10)
		if l.Parts > 1 {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(l.Parts), 10)
		}
	}
	return string(b)
}

// boundBytes bounds what the headers take that do not depend on the events.
func boundBytes(common map[string][]string) int {
	const statusLine = len("NATS/1.0\r\n\r\n")
	const number = 20 // digits of the greatest
	n := statusLine + reserved + line(HeaderVersion, number) + line(HeaderPart, len("1000/1000 ")+number)
	for name, values := range common {
		n += line(name, len(values[0]))
	}
	return n
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
