package wire

import (
	"math"
	"strings"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/tributary-es/tributary/backend"
)

// testID is the id that the others differ from in their last byte.
var testID = uuid.MustParse("0198c2d0-7a1b-7000-8000-000000000001")

func nthID(n byte) uuid.UUID {
	id := testID
	id[15] = n
	return id
}

var (
	testBegan = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	testTime  = time.Date(2026, 3, 1, 9, 30, 0, 123456789, time.UTC)
)

var testLimits = Limits{MaxMessageBytes: 1 << 20, MaxMessages: MaxParts}

// plainEvents are n events that differ in nothing but id and data.
func plainEvents(n int) []backend.UnsavedEvent {
	events := make([]backend.UnsavedEvent, n)
	for i := range events {
		events[i] = backend.UnsavedEvent{EventUUID: nthID(byte(i + 1)), EventType: "Deposited", Data: []byte(`{"amount":5}`), CreatedAt: testTime}
	}
	return events
}

// anyText is text of any bytes, among them many that are special somewhere.
func anyText() *rapid.Generator[string] {
	special := rapid.SampledFrom([]string{" ", ",", "%", "\n", "\r\n", "\t", "\x00", "\x7f", ":", "\xff", "\xe2\x82", "\u0085", "\u00a0", "\u2028",
		"\ufeff", "\ufffd", "%41", "Nats-Rollup: sub", "\r\n\r\n", "Trib-Id: 1", "é", "振", "🎉", "a", "B"})
	return rapid.OneOf(
		rapid.StringMatching(`[A-Za-z]{1,20}`),
		rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(special, 1, 8).Draw(t, "parts"), "") }),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 40), func(b []byte) string { return string(b) }),
		rapid.String(),
	)
}

func anyID() *rapid.Generator[uuid.UUID] {
	return rapid.Custom(func(t *rapid.T) uuid.UUID {
		id := uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		if id == uuid.Nil {
			id[0] = 1
		}
		return id
	})
}

// anyTime is a time that an event can have: in UTC, in the years 1 to 9999.
func anyTime() *rapid.Generator[time.Time] {
	first, last := time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC).Unix(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
	return rapid.Custom(func(t *rapid.T) time.Time {
		nanos := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 999_999_999), rapid.Just(int64(120_000_000))).Draw(t, "nanos")
		return time.Unix(rapid.Int64Range(first, last).Draw(t, "seconds"), nanos).UTC()
	})
}

// anyEvents are events as [backend.Prepare] returns them. What neighbours often
// share is often shared.
func anyEvents(most int) *rapid.Generator[[]backend.UnsavedEvent] {
	return rapid.Custom(func(t *rapid.T) []backend.UnsavedEvent {
		event := rapid.Custom(func(t *rapid.T) backend.UnsavedEvent {
			e := backend.UnsavedEvent{
				EventUUID: anyID().Draw(t, "id"),
				EventType: anyText().Filter(func(s string) bool { return s != "" }).Draw(t, "type"),
				CreatedAt: anyTime().Draw(t, "created"),
				Data:      rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
			}
			if rapid.Bool().Draw(t, "caused") {
				e.CausationID = anyID().Draw(t, "causation")
			}
			if rapid.Bool().Draw(t, "correlated") {
				e.CorrelationID = anyID().Draw(t, "correlation")
			}
			if rapid.Bool().Draw(t, "described") {
				e.Metadata = []byte(anyText().Draw(t, "metadata"))
			}
			return e
		})
		events := rapid.SliceOfN(event, 1, most).Draw(t, "events")
		shared := rapid.Uint8().Draw(t, "shared") // a bit for each property that all events share
		for i := range events[1:] {
			e, first := &events[i+1], &events[0]
			if shared&1 != 0 {
				e.EventType = first.EventType
			}
			if shared&2 != 0 {
				e.CreatedAt = first.CreatedAt
			}
			if shared&4 != 0 {
				e.CausationID = first.CausationID
			}
			if shared&8 != 0 {
				e.CorrelationID = first.CorrelationID
			}
			if shared&16 != 0 {
				e.Metadata = first.Metadata
			}
			if shared&32 != 0 {
				e.Data = nil
			}
		}
		return events
	})
}

func anyState() *rapid.Generator[State] {
	return rapid.Custom(func(t *rapid.T) State {
		s := State{
			Version: rapid.OneOf(rapid.Uint64Range(0, 1000), rapid.Uint64Range(0, math.MaxUint64-10_000)).Draw(t, "version"),
			ID:      rapid.Uint64Min(1).Draw(t, "stream"),
			Created: anyTime().Draw(t, "began"),
			First:   1,
		}
		if rapid.Bool().Draw(t, "truncated") {
			s.First = rapid.Uint64Range(1, s.Version+1).Draw(t, "first")
		}
		if rapid.Bool().Draw(t, "deleted") {
			s.Deleted = anyTime().Draw(t, "deleted at")
		}
		return s
	})
}

func anyChain() *rapid.Generator[[]Link] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Link {
		l := Link{
			Position: rapid.OneOf(rapid.Uint64Range(MaxParts, 1e6), rapid.Uint64Min(MaxParts)).Draw(t, "position"),
			Events:   rapid.OneOf(rapid.Uint32Range(1, 10), rapid.Uint32Min(1)).Draw(t, "events"),
			Parts:    1,
		}
		if rapid.Bool().Draw(t, "several") {
			l.Parts = rapid.Uint32Range(1, MaxParts).Draw(t, "parts")
		}
		return l
	}), 0, MaxChain+1)
}

// recorded is what an event is read back as.
func recorded(e backend.UnsavedEvent, common backend.RecordedEvent, version uint64) backend.RecordedEvent {
	r := common
	r.EventNumber, r.StreamVersion = version, version
	r.EventUUID, r.CausationID, r.CorrelationID = e.EventUUID, e.CausationID, e.CorrelationID
	r.EventType, r.CreatedAt = e.EventType, e.CreatedAt
	if len(e.Data) > 0 {
		r.Data = e.Data
	}
	if len(e.Metadata) > 0 {
		r.Metadata = e.Metadata
	}
	return r
}
