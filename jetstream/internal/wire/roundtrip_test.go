package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tributary-es/tributary/backend"
)

var testCommon = backend.RecordedEvent{StreamUUID: "account-42", Position: 17, RecordedAt: testTime.Add(time.Millisecond)}

// checkRoundTrip encodes a commit, passes it through nats.go's headers, decodes
// it, and checks that everything is back, and within the limits.
func checkRoundTrip(t rapid.TB, events []backend.UnsavedEvent, before State, begin bool, chain []Link, limits Limits) []Message {
	messages, err := EncodeEvents(events, before, begin, chain, limits)
	if err != nil {
		t.Fatal(err)
	}
	var (
		got  []backend.RecordedEvent
		want []backend.RecordedEvent
	)
	version := before.Version
	for i, m := range messages {
		if size := sentBytes(m.Header); size > MaxHeaderBytes || size+len(m.Body) > limits.MaxMessageBytes {
			t.Errorf("message %d has %d bytes of headers and %d of body, limits %d and %d together", i, size, len(m.Body), MaxHeaderBytes, limits.MaxMessageBytes)
		}
		rec, err := Decode(overNATS(t, m.Header), slices.Clone(m.Body))
		if err != nil {
			t.Fatalf("message %d: %v\n%s", i, err, natsHeader(m.Header))
		}
		if rec.Kind != Events || rec.FirstVersion() != version+1 || limits.EventsPerMessage > 0 && rec.Events > limits.EventsPerMessage {
			t.Errorf("message %d: kind %v, %d events from version %d, want events from %d", i, rec.Kind, rec.Events, rec.FirstVersion(), version+1)
		}
		version = rec.State.Version
		after := before
		after.Version = version
		after.First = max(after.First, 1)
		if rec.State != after {
			t.Errorf("message %d: state %+v, want %+v", i, rec.State, after)
		}
		part := Part{}
		if len(messages) > 1 {
			part = Part{Index: uint32(i + 1), Count: uint32(len(messages)), Base: before.Version, Begin: begin}
		}
		if rec.Part != part || rec.Part.Last() != (i == len(messages)-1) {
			t.Errorf("message %d: part %+v, want %+v", i, rec.Part, part)
		}
		if wanted := chain[:min(len(chain), MaxChain)]; !slices.Equal(rec.Chain(), wanted) {
			t.Errorf("message %d: chain %v, want %v", i, rec.Chain(), wanted)
		}
		if got, err = rec.AppendEvents(got, testCommon, 0, math.MaxUint64); err != nil {
			t.Fatalf("message %d: %v\n%s", i, err, natsHeader(m.Header))
		}
		first, err := rec.MarkerID()
		if want := got[len(got)-rec.Events].EventUUID; err != nil || first != want {
			t.Errorf("message %d: first id %v, %v, want %v", i, first, err, want)
		}
	}
	for i, e := range events {
		want = append(want, recorded(e, testCommon, before.Version+1+uint64(i)))
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got\n%+v\nwant\n%+v", got, want)
	}
	return messages
}

func TestEverythingComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := anyState().Draw(t, "before")
		begin := rapid.Bool().Draw(t, "begin")
		if begin {
			before.Version, before.First = 0, 1
		}
		limits := testLimits
		limits.EventsPerMessage = rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "events a message")
		limits.MaxMessageBytes = rapid.SampledFrom([]int{1 << 20, 8192, 3000}).Draw(t, "payload")
		checkRoundTrip(t, anyEvents(12).Draw(t, "events"), before, begin, anyChain().Draw(t, "chain"), limits)
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte{}, uint8(0))
	f.Add([]byte("\x05Typed\x03abc\x02mm\x07\x01\x01T\x00\x00\x00"), uint8(1))
	f.Add([]byte("\x03a,b\x05\n\n\n\n\n\x04 \r\n \x1f\x01%\x01\n\x00\xff"), uint8(3))
	f.Fuzz(func(t *testing.T, raw []byte, perMessage uint8) {
		events := eventsOf(raw)
		if len(events) == 0 {
			return
		}
		limits := testLimits
		limits.EventsPerMessage = int(perMessage % 4)
		checkRoundTrip(t, events, begun(uint64(len(raw))), false, []Link{{Position: uint64(len(raw)) + 1, Events: 1, Parts: 1}}, limits)
	})
}

// eventsOf makes events of bytes: type, data, metadata, each after its length,
// and a byte that says what else there is.
func eventsOf(raw []byte) []backend.UnsavedEvent {
	next := func() []byte {
		if len(raw) == 0 {
			return nil
		}
		n := min(int(raw[0]), len(raw)-1)
		value := raw[1 : 1+n]
		raw = raw[1+n:]
		return value
	}
	var events []backend.UnsavedEvent
	for len(raw) > 0 && len(events) < 50 {
		e := backend.UnsavedEvent{EventUUID: nthID(byte(len(events) + 1)), EventType: "T" + string(next()), Data: next(), Metadata: next(), CreatedAt: testTime}
		if len(raw) > 0 {
			if raw[0]&1 != 0 {
				e.CausationID = nthID(raw[0])
			}
			if raw[0]&2 != 0 {
				e.CorrelationID = nthID(raw[0])
			}
			if raw[0]&4 != 0 {
				e.EventType = e.EventType[1:] + "T"
			}
			var nanos [8]byte
			copy(nanos[:], raw)
			e.CreatedAt = testTime.Add(time.Duration(binary.LittleEndian.Uint64(nanos[:]) >> 2))
			raw = raw[1:]
		}
		events = append(events, e)
	}
	return events
}

func TestEventsAreReadByVersion(t *testing.T) {
	events := plainEvents(5)
	for i := range events {
		events[i].Data = bytes.Repeat([]byte{'\n'}, i)
		events[i].Metadata = []byte{byte('a' + i)}
	}
	m := encodeOne(t, events, begun(10), nil) // versions 11 to 15
	rec, err := Decode(overNATS(t, m.Header), m.Body)
	if err != nil {
		t.Fatal(err)
	}
	for from := range uint64(18) {
		for to := range uint64(18) {
			var want []backend.RecordedEvent
			for i, e := range events {
				if v := uint64(11 + i); from <= v && v <= to {
					want = append(want, recorded(e, testCommon, v))
				}
			}
			got, err := rec.AppendEvents(nil, testCommon, from, to)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("versions %d to %d: %+v, %v, want %+v", from, to, got, err, want)
			}
		}
	}
	before := []backend.RecordedEvent{{EventType: "before"}}
	got, err := rec.AppendEvents(before, testCommon, 12, math.MaxUint64)
	if err != nil || len(got) != 5 || got[0].EventType != "before" {
		t.Errorf("appended to one: %+v, %v", got, err)
	}
}

func TestAnEventsDataEndsWhereTheNextBegins(t *testing.T) {
	events := plainEvents(2)
	m := encodeOne(t, events, begun(0), nil)
	rec, err := Decode(m.Header, m.Body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := rec.AppendEvents(nil, testCommon, 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(got[0].Data, "and more"...)
	if string(got[1].Data) != string(events[1].Data) {
		t.Errorf("appending to one event's data changed the next to %q", got[1].Data)
	}
}
