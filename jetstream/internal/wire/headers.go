package wire

import (
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// headers are the headers of a message in the making. What makes them up is in
// few pieces of memory: an append is short enough to feel each.
type headers struct {
	values map[string][]string
	slab   []string        // the values' backing array
	text   strings.Builder // what is made of numbers and times
}

// newHeaders returns headers with room for those that always are there, for the
// fence that a writer adds, and for more.
func newHeaders(more int) *headers {
	const always = 3
	h := &headers{values: make(map[string][]string, always+more), slab: make([]string, 0, always+more)}
	h.text.Grow(384) // a chain takes some 150
	return h
}

func (h *headers) set(name, value string) {
	h.slab = append(h.slab, value)
	n := len(h.slab)
	h.values[name] = h.slab[n-1 : n : n]
}

func (h *headers) setNumber(name string, n uint64) {
	start := h.text.Len()
	h.writeNumber(n)
	h.set(name, h.text.String()[start:])
}

func (h *headers) setID(name string, id *uuid.UUID) {
	start := h.text.Len()
	var written [idStride]byte
	h.text.Write(appendID(written[:0], id))
	h.set(name, h.text.String()[start:])
}

func (h *headers) setTime(name string, t time.Time) {
	start := h.text.Len()
	h.writeTime(t)
	h.set(name, h.text.String()[start:])
}

func (h *headers) writeTime(t time.Time) {
	var written [len(timeLayout)]byte
	h.text.Write(t.UTC().AppendFormat(written[:0], timeLayout))
}

func (h *headers) writeNumber(n uint64) {
	var digits [20]byte
	h.text.Write(strconv.AppendUint(digits[:0], n, 10))
}

// common sets the headers that all messages of a commit have in common.
func (h *headers) common(kind Kind, s State, chain []Link) {
	h.set(HeaderCommit, commitValue(kind))
	start := h.text.Len()
	h.writeNumber(s.ID)
	h.text.WriteByte(' ')
	h.writeTime(s.Created)
	h.set(HeaderStream, h.text.String()[start:])
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
	start := h.text.Len()
	for i, l := range chain[:min(len(chain), MaxChain)] {
		if i > 0 {
			h.text.WriteByte(' ')
		}
		h.writeNumber(l.Position)
		h.text.WriteByte(':')
		h.writeNumber(uint64(l.Events))
		if l.Parts > 1 {
			h.text.WriteByte(':')
			h.writeNumber(uint64(l.Parts))
		}
	}
	h.set(HeaderChain, h.text.String()[start:])
}

// commonBytes bounds what the headers of a message of a commit take that do not
// depend on the events.
func commonBytes(before State, chain []Link) int {
	h := newHeaders(0)
	h.common(Events, before, chain)
	const statusLine = len("NATS/1.0\r\n\r\n")
	const number = 20 // digits of the greatest
	n := statusLine + reserved + line(HeaderVersion, number) + line(HeaderPart, len("1000/1000 ")+number)
	for name, values := range h.values {
		n += line(name, len(values[0]))
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
