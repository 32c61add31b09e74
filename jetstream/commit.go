package jetstream

import (
	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// part is a message of an event stream, decoded.
type part struct {
	stored
	rec wire.Record
}

func newPart(m *stored) (part, error) {
	var c commit
	return c.decode(m)
}

// commit is one append as it is stored: one message, or several in a row. The
// zero value has none yet.
type commit struct {
	parts   []part
	decoder wire.Decoder
}

// decode decodes a message that may be a part of c.
func (c *commit) decode(m *stored) (part, error) {
	rec, err := c.decoder.Decode(m.header, m.body)
	return part{stored: *m, rec: rec}, err
}

// add adds the next message and reports whether it belongs there. Only messages
// with events do.
func (c *commit) add(p part) bool {
	if p.rec.Kind != wire.Events {
		return false
	}
	n := len(c.parts)
	if n == 0 {
		if p.rec.Part.Index > 1 || p.rec.Part.Count > 0 && p.rec.FirstVersion() != p.rec.Part.Base+1 {
			return false
		}
		c.parts = append(c.parts, p)
		return true
	}
	last := c.parts[n-1]
	want := last.rec.Part
	want.Index++
	if c.complete() || p.rec.Part != want || p.rec.State.ID != last.rec.State.ID ||
		p.subject != last.subject || p.rec.FirstVersion() != last.rec.State.Version+1 {
		return false
	}
	c.parts = append(c.parts, p)
	return true
}

// clear makes c a commit that has no message yet. Its place is used again, and
// must not hold what a large one had for as long as its reader lives.
func (c *commit) clear() {
	clear(c.parts)
	c.parts = c.parts[:0]
}

// complete reports whether all messages of the commit are there.
func (c *commit) complete() bool {
	n := len(c.parts)
	return n > 0 && c.parts[n-1].rec.Part.Last()
}

func (c *commit) last() *part { return &c.parts[len(c.parts)-1] }

// version is that of the last event.
func (c *commit) version() uint64 { return c.last().rec.State.Version }

// before is the version before the commit.
func (c *commit) before() uint64 { return c.parts[0].rec.FirstVersion() - 1 }

func (c *commit) events() uint64 { return c.version() - c.before() }

func (c *commit) streamID() uint64 { return c.parts[0].rec.State.ID }

// position is that of the last message.
func (c *commit) position() uint64 { return c.last().position }

// appendEvents appends the commit's events whose version is from from to to; none
// where there is an error.
func (c *commit) appendEvents(dst []backend.RecordedEvent, streamUUID string, from, to uint64) ([]backend.RecordedEvent, error) {
	common := backend.RecordedEvent{StreamUUID: streamUUID, Position: c.position(), RecordedAt: c.last().at}
	appended := dst
	for i := range c.parts {
		var err error
		if appended, err = c.parts[i].rec.AppendEvents(appended, common, from, to); err != nil {
			return dst, undecodable(streamUUID, c.parts[i].position, err)
		}
	}
	return appended, nil
}
