package wire

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// column holds one property of the events of a commit, as it is written. Where
// all events of a message have the same value it is written once, for all of
// them; where none has one, not at all.
type column struct {
	name   string
	values []string
	list   bool // a list even where the values are the same
}

// columns are the properties of the events of a commit.
type columns struct {
	events  []backend.UnsavedEvent
	all     [6]column // id, type, created, causation, correlation, metadata
	dataLen []int
}

func makeColumns(events []backend.UnsavedEvent, limits Limits) *columns {
	n := len(events)
	several := n > 1 && limits.EventsPerMessage != 1 // events in a message
	c := &columns{events: events, dataLen: make([]int, n)}
	values := make([]string, 6*n)
	for i, col := range []column{
		{name: HeaderID, list: true}, {name: HeaderType}, {name: HeaderCreated},
		{name: HeaderCausation}, {name: HeaderCorrelation}, {name: HeaderMetadata},
	} {
		c.all[i] = col
		c.all[i].values = values[i*n : (i+1)*n : (i+1)*n]
	}
	for i := range events {
		e := &events[i]
		c.dataLen[i] = len(e.Data)
		c.all[0].values[i] = e.EventUUID.String()
		c.all[1].values[i] = escape(e.EventType, true)
		if i > 0 && e.CreatedAt.Equal(events[i-1].CreatedAt) {
			c.all[2].values[i] = c.all[2].values[i-1]
		} else {
			c.all[2].values[i] = timeValue(e.CreatedAt)
		}
		if i > 0 && e.CausationID == events[i-1].CausationID {
			c.all[3].values[i] = c.all[3].values[i-1]
		} else {
			c.all[3].values[i] = idValue(e.CausationID)
		}
		if i > 0 && e.CorrelationID == events[i-1].CorrelationID {
			c.all[4].values[i] = c.all[4].values[i-1]
		} else {
			c.all[4].values[i] = idValue(e.CorrelationID)
		}
		if len(e.Metadata) > 0 {
			c.all[5].values[i] = escape(string(e.Metadata), several)
		}
	}
	return c
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
		sizes += digits(uint64(c.dataLen[i])) + 1
		header += line(HeaderSize, sizes)
		bodySize += c.dataLen[i] + 1
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
	switch {
	case same && !col.list && first == 0:
		return 0
	case same && !col.list:
		return line(col.name, first)
	}
	return line(col.name, sum+n-1)
}

// set writes the headers of the events from one on, before another.
func (c *columns) set(h map[string][]string, from, to int) {
	for k := range c.all {
		c.all[k].set(h, from, to)
	}
	if to-from > 1 || c.dataLen[from] == 0 {
		var b []byte
		for i, size := range c.dataLen[from:to] {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, int64(size), 10)
		}
		set(h, HeaderSize, string(b))
	}
}

func (col *column) set(h map[string][]string, from, to int) {
	values := col.values[from:to:to]
	if !col.list && allSame(values) {
		if values[0] != "" {
			h[col.name] = values[:1:1]
		}
		return
	}
	if len(values) == 1 {
		h[col.name] = values
		return
	}
	set(h, col.name, strings.Join(values, ","))
}

func allSame(values []string) bool {
	for _, v := range values[1:] {
		if v != values[0] {
			return false
		}
	}
	return true
}
