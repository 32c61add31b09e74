package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/tributary-es/tributary/backend"
)

func encodeOne(t rapid.TB, events []backend.UnsavedEvent, before State, chain []Link) Message {
	messages, err := EncodeEvents(events, before, false, chain, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	if len(messages) != 1 {
		t.Fatalf("%d messages", len(messages))
	}
	return messages[0]
}

func begun(version uint64) State {
	return State{Version: version, First: 1, ID: 1234, Created: testBegan}
}

// headersWith are the headers that every commit of the tests has, and more.
func headersWith(more map[string][]string) map[string][]string {
	h := map[string][]string{
		HeaderCommit: {"1 events"}, HeaderStream: {"1234 2026-03-01T08:00:00Z"}, HeaderType: {"Deposited"},
		HeaderCreated: {"2026-03-01T09:30:00.123456789Z"},
	}
	for name, values := range more {
		if values == nil {
			delete(h, name)
		} else {
			h[name] = values
		}
	}
	return h
}

const (
	id1 = "0198c2d0-7a1b-7000-8000-000000000001"
	id2 = "0198c2d0-7a1b-7000-8000-000000000002"
	id3 = "0198c2d0-7a1b-7000-8000-000000000003"
)

func TestF03_AnAppendIsOneMessageWhereItFits(t *testing.T) {
	messages, err := EncodeEvents(plainEvents(255), begun(0), true, nil, testLimits)
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages, %v, want 1", len(messages), err)
	}
	if part := messages[0].Header[HeaderPart]; part != nil {
		t.Errorf("a commit of one message has %s %q", HeaderPart, part)
	}
}

// Exactly what is written, header by header.
func TestF20_EncodedHeadersAndBodies(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events func() []backend.UnsavedEvent
		before State
		chain  []Link
		header map[string][]string
		body   string
	}{
		{
			name:   "one plain event",
			events: func() []backend.UnsavedEvent { return plainEvents(1) },
			before: begun(0),
			header: headersWith(map[string][]string{HeaderVersion: {"1"}, HeaderID: {id1}}),
			body:   `{"amount":5}`,
		},
		{
			name: "one event with everything",
			events: func() []backend.UnsavedEvent {
				e := plainEvents(1)
				e[0].CausationID, e[0].CorrelationID = nthID(2), nthID(3)
				e[0].EventType, e[0].Metadata = "Paid, in full", []byte(`{"user":"ann","n":1}`)
				return e
			},
			before: State{Version: 9, First: 3, ID: 1234, Created: testBegan},
			chain:  []Link{{Position: 40, Events: 2, Parts: 1}, {Position: 17, Events: 300, Parts: 4}},
			header: headersWith(map[string][]string{
				HeaderVersion: {"10"}, HeaderFirst: {"3"}, HeaderChain: {"40:2 17:300:4"}, HeaderID: {id1}, HeaderType: {"Paid%2C in full"},
				HeaderCausation: {id2}, HeaderCorrelation: {id3}, HeaderMetadata: {`{"user":"ann","n":1}`},
			}),
			body: `{"amount":5}`,
		},
		{
			name: "three events that share correlation and created",
			events: func() []backend.UnsavedEvent {
				e := plainEvents(3)
				for i := range e {
					e[i].CorrelationID = nthID(9)
				}
				e[1].EventType, e[1].Data, e[2].Data = "With,drawn", []byte(`{}`), []byte("x")
				return e
			},
			before: begun(4),
			header: headersWith(map[string][]string{
				HeaderVersion: {"7"}, HeaderID: {id1 + "," + id2 + "," + id3}, HeaderType: {"Deposited,With%2Cdrawn,Deposited"},
				HeaderCorrelation: {"0198c2d0-7a1b-7000-8000-000000000009"}, HeaderSize: {"12,2,1"},
			}),
			body: "{\"amount\":5}\n{}\nx",
		},
		{
			name: "metadata, causation, created on some",
			events: func() []backend.UnsavedEvent {
				e := plainEvents(3)
				e[1].Metadata, e[1].CausationID = []byte("a,b "), nthID(1)
				e[2].CreatedAt = testTime.Add(877 * time.Millisecond).Truncate(time.Second)
				return e
			},
			before: begun(0),
			header: headersWith(map[string][]string{
				HeaderVersion: {"3"}, HeaderID: {id1 + "," + id2 + "," + id3}, HeaderSize: {"12,12,12"}, HeaderMetadata: {",a%2Cb%20,"},
				HeaderCausation: {"," + id1 + ","},
				HeaderCreated:   {"2026-03-01T09:30:00.123456789Z,2026-03-01T09:30:00.123456789Z,2026-03-01T09:30:01Z"},
			}),
			body: "{\"amount\":5}\n{\"amount\":5}\n{\"amount\":5}",
		},
		{
			name: "the same metadata on all",
			events: func() []backend.UnsavedEvent {
				e := plainEvents(2)
				e[0].Metadata, e[1].Metadata = []byte("m"), []byte("m")
				return e
			},
			before: begun(0),
			header: headersWith(map[string][]string{
				HeaderVersion: {"2"}, HeaderID: {id1 + "," + id2}, HeaderSize: {"12,12"}, HeaderMetadata: {"m"},
			}),
			body: "{\"amount\":5}\n{\"amount\":5}",
		},
		{
			name: "one event without data",
			events: func() []backend.UnsavedEvent {
				e := plainEvents(1)
				e[0].Data = []byte{}
				return e
			},
			before: begun(0),
			header: headersWith(map[string][]string{HeaderVersion: {"1"}, HeaderID: {id1}, HeaderSize: {"0"}}),
			body:   "\n",
		},
		{
			name: "several events without data",
			events: func() []backend.UnsavedEvent {
				e := plainEvents(3)
				e[0].Data, e[1].Data, e[2].Data = nil, nil, nil
				return e
			},
			before: begun(0),
			header: headersWith(map[string][]string{HeaderVersion: {"3"}, HeaderID: {id1 + "," + id2 + "," + id3}, HeaderSize: {"0,0,0"}}),
			body:   "\n\n",
		},
		{
			name: "one event whose data is a line break",
			events: func() []backend.UnsavedEvent {
				e := plainEvents(1)
				e[0].Data = []byte("\n")
				return e
			},
			before: begun(0),
			header: headersWith(map[string][]string{HeaderVersion: {"1"}, HeaderID: {id1}}),
			body:   "\n",
		},
		{
			name: "data with line breaks",
			events: func() []backend.UnsavedEvent {
				e := plainEvents(2)
				e[0].Data, e[1].Data = []byte("a\n\nb\n"), []byte("\r\n")
				return e
			},
			before: begun(0),
			header: headersWith(map[string][]string{HeaderVersion: {"2"}, HeaderID: {id1 + "," + id2}, HeaderSize: {"5,2"}}),
			body:   "a\n\nb\n\n\r\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := encodeOne(t, tt.events(), tt.before, tt.chain)
			if !reflect.DeepEqual(m.Header, tt.header) {
				t.Errorf("headers\n%swant\n%s", natsHeader(m.Header), natsHeader(tt.header))
			}
			if string(m.Body) != tt.body {
				t.Errorf("body %q, want %q", m.Body, tt.body)
			}
			checkRoundTrip(t, tt.events(), tt.before, false, tt.chain, testLimits)
		})
	}
}

func TestF19_TimesAreWrittenInUTC(t *testing.T) {
	zone := time.FixedZone("", 5*3600+45*60+7) // seconds don't survive in RFC 3339
	events := plainEvents(1)
	events[0].CreatedAt = testTime.In(zone)
	before := begun(0)
	before.Created, before.Deleted = testBegan.In(zone), testBegan.In(zone)
	m := encodeOne(t, events, before, nil)
	for name, want := range map[string]string{
		HeaderCreated: "2026-03-01T09:30:00.123456789Z", HeaderStream: "1234 2026-03-01T08:00:00Z", HeaderDeleted: "2026-03-01T08:00:00Z",
	} {
		if got := m.Header[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s %q, want %q", name, got, want)
		}
	}
}

func TestF23_EncodedMarkers(t *testing.T) {
	deleted := begun(12)
	deleted.Deleted = testTime
	truncated := begun(12)
	truncated.First = 13
	for _, tt := range []struct {
		kind  Kind
		after State
		chain []Link
		want  map[string][]string
	}{
		{Created, begun(0), nil, map[string][]string{HeaderCommit: {"1 created"}, HeaderVersion: {"0"}}},
		{SoftDeleted, deleted, []Link{{Position: 5, Events: 12, Parts: 1}}, map[string][]string{
			HeaderCommit: {"1 soft-deleted"}, HeaderVersion: {"12"}, HeaderDeleted: {"2026-03-01T09:30:00.123456789Z"}, HeaderChain: {"5:12"}}},
		{Restored, begun(12), nil, map[string][]string{HeaderCommit: {"1 restored"}, HeaderVersion: {"12"}}},
		{Truncated, truncated, nil, map[string][]string{HeaderCommit: {"1 truncated"}, HeaderVersion: {"12"}, HeaderFirst: {"13"}}},
		{Erased, begun(12), nil, map[string][]string{HeaderCommit: {"1 erased"}, HeaderVersion: {"12"}}},
	} {
		t.Run(tt.kind.String(), func(t *testing.T) {
			tt.want[HeaderID] = []string{id1}
			tt.want[HeaderStream] = []string{"1234 2026-03-01T08:00:00Z"}
			m := EncodeMarker(tt.kind, testID, tt.after, tt.chain)
			if !reflect.DeepEqual(m.Header, tt.want) {
				t.Errorf("headers\n%swant\n%s", natsHeader(m.Header), natsHeader(tt.want))
			}
			if string(m.Body) != "\n" {
				t.Errorf("body %q", m.Body)
			}
			rec, err := Decode(overNATS(t, m.Header), m.Body)
			if err != nil {
				t.Fatal(err)
			}
			if rec.Kind != tt.kind || rec.State != tt.after || rec.Events != 0 || !slices.Equal(rec.Chain(), tt.chain) || !rec.Part.Last() {
				t.Errorf("decoded %+v, want %v %+v", rec, tt.kind, tt.after)
			}
			if id, err := rec.MarkerID(); id != testID || err != nil {
				t.Errorf("id %v, %v", id, err)
			}
			got, err := rec.AppendEvents(nil, backend.RecordedEvent{}, 0, math.MaxUint64)
			if len(got) != 0 || err != nil {
				t.Errorf("events %v, %v", got, err)
			}
		})
	}
}

func TestF22_NoBodyIsEmpty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := testLimits
		limits.EventsPerMessage = rapid.IntRange(0, 3).Draw(t, "events a message")
		messages, err := EncodeEvents(anyEvents(5).Draw(t, "events"), begun(0), true, nil, limits)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range messages {
			if len(m.Body) == 0 {
				t.Errorf("message %d has no body: %q", i, m.Header)
			}
		}
	})
}

func TestF25_ACommitOfSeveralMessagesNumbersThem(t *testing.T) {
	for _, tt := range []struct {
		perMessage, events int
		begin              bool
		parts, versions    []string
	}{
		{0, 7, false, nil, []string{"17"}},
		{1, 1, false, nil, []string{"11"}},
		{1, 3, false, []string{"1/3 10", "2/3 10", "3/3 10"}, []string{"11", "12", "13"}},
		{1, 2, true, []string{"1/2 new", "2/2 new"}, []string{"1", "2"}},
		{3, 7, false, []string{"1/3 10", "2/3 10", "3/3 10"}, []string{"13", "16", "17"}},
		{3, 6, false, []string{"1/2 10", "2/2 10"}, []string{"13", "16"}},
		{3, 3, false, nil, []string{"13"}},
	} {
		t.Run(fmt.Sprint(tt.events, " events, ", tt.perMessage, " a message"), func(t *testing.T) {
			before := begun(10)
			if tt.begin {
				before = begun(0)
			}
			limits := testLimits
			limits.EventsPerMessage = tt.perMessage
			messages, err := EncodeEvents(plainEvents(tt.events), before, tt.begin, nil, limits)
			if err != nil {
				t.Fatal(err)
			}
			var parts, versions []string
			for _, m := range messages {
				parts = append(parts, m.Header[HeaderPart]...)
				versions = append(versions, m.Header[HeaderVersion]...)
			}
			if !slices.Equal(parts, tt.parts) || !slices.Equal(versions, tt.versions) {
				t.Errorf("parts %q of versions %q, want %q of %q", parts, versions, tt.parts, tt.versions)
			}
			checkRoundTrip(t, plainEvents(tt.events), before, tt.begin, nil, limits)
		})
	}
}

func TestF35_MessagesAreCutAtTheLimits(t *testing.T) {
	big := plainEvents(10)
	for i := range big {
		big[i].Data = bytes.Repeat([]byte{'d'}, 300)
	}
	described := plainEvents(10)
	for i := range described {
		described[i].Metadata = bytes.Repeat([]byte{byte('a' + i)}, backend.MaxMetadataBytes)
	}
	for _, tt := range []struct {
		name     string
		events   []backend.UnsavedEvent
		limits   Limits
		messages int
	}{
		{"by the payload", big, Limits{MaxMessageBytes: 2048, MaxMessages: 10}, 3},
		{"by the headers", described, testLimits, 4},
		{"by neither", big, testLimits, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			messages := checkRoundTrip(t, tt.events, begun(0), true, nil, tt.limits)
			if len(messages) != tt.messages {
				t.Errorf("%d messages, want %d", len(messages), tt.messages)
			}
		})
	}
}

func TestF36_TheLargestEventFits(t *testing.T) {
	events := plainEvents(1)
	e := &events[0]
	e.EventType = strings.Repeat("\xff", backend.MaxEventTypeBytes)
	e.Metadata = bytes.Repeat([]byte{0}, backend.MaxMetadataBytes)
	e.CausationID, e.CorrelationID = nthID(2), nthID(3)
	before := State{Version: math.MaxUint64 - 2, First: math.MaxUint64 - 2, ID: math.MaxUint64, Created: testTime, Deleted: testTime}
	chain := make([]Link, MaxChain+1)
	for i := range chain {
		chain[i] = Link{Position: math.MaxUint64, Events: math.MaxUint32, Parts: MaxParts}
	}
	m := encodeOne(t, events, before, chain)
	size := sentBytes(m.Header)
	if size > MaxHeaderBytes {
		t.Errorf("%d bytes of headers, limit %d", size, MaxHeaderBytes)
	}
	t.Logf("%d bytes of headers, %d left", size, MaxHeaderBytes-size)
	e.Data = make([]byte, testLimits.MaxMessageBytes-MaxHeaderBytes)
	checkRoundTrip(t, events, before, false, chain, testLimits)
}

func TestF38_WhatIsTooLargeIsRefusedWithSizeAndLimit(t *testing.T) {
	t.Run("data", func(t *testing.T) {
		events := plainEvents(3)
		events[1].Data = make([]byte, 5000)
		_, err := EncodeEvents(events, begun(0), true, nil, Limits{MaxMessageBytes: 4096, MaxMessages: 10})
		if !errors.Is(err, backend.ErrEventTooLarge) {
			t.Fatalf("%v, want ErrEventTooLarge", err)
		}
		header := 5000 + commonBytes(begun(0), nil) // and the event's own
		var index, size, headers, limit, headerLimit int
		text := strings.TrimPrefix(err.Error(), "event ")
		_, err2 := fmt.Sscanf(text, "%d: event too large: %d bytes with %d of headers, limit %d with %d of headers", &index, &size, &headers, &limit, &headerLimit)
		if err2 != nil || index != 1 || size-headers != 5000 || size < header || limit != 4096 || headerLimit != MaxHeaderBytes {
			t.Errorf("%v (%v)", err, err2)
		}
	})
	t.Run("headers", func(t *testing.T) {
		events := plainEvents(1)
		events[0].Metadata = make([]byte, MaxHeaderBytes/3)
		_, err := EncodeEvents(events, begun(0), true, nil, testLimits)
		if !errors.Is(err, backend.ErrEventTooLarge) || !strings.Contains(err.Error(), "with 64512 of headers") {
			t.Errorf("%v, want ErrEventTooLarge with the limit", err)
		}
	})
	t.Run("messages", func(t *testing.T) {
		_, err := EncodeEvents(plainEvents(5), begun(0), true, nil, Limits{MaxMessageBytes: 4096, EventsPerMessage: 2, MaxMessages: 2})
		if !errors.Is(err, backend.ErrAppendTooLarge) || !strings.Contains(err.Error(), "5 events need 3 messages, limit 2") {
			t.Errorf("%v, want ErrAppendTooLarge with number and limit", err)
		}
	})
}

func TestF37_ACommitHasAThousandMessagesAtMost(t *testing.T) {
	events := plainEvents(1)
	for len(events) < MaxParts+1 {
		events = append(events, events[0])
	}
	limits := Limits{MaxMessageBytes: 1 << 20, EventsPerMessage: 1, MaxMessages: 1 << 20}
	if _, err := EncodeEvents(events, begun(0), true, nil, limits); !errors.Is(err, backend.ErrAppendTooLarge) || !strings.Contains(err.Error(), "limit 1000") {
		t.Errorf("%v, want ErrAppendTooLarge", err)
	}
	checkRoundTrip(t, events[:MaxParts], begun(math.MaxUint64-MaxParts-1), false, nil, limits)
}

func TestNoEventsAreNoMessages(t *testing.T) {
	if messages, err := EncodeEvents(nil, begun(0), true, nil, testLimits); len(messages) != 0 || err != nil {
		t.Errorf("%v, %v", messages, err)
	}
}

// What fits by the estimate fits in truth, also with the headers that fence a
// message and make it part of a batch.
func TestF35_TheSizeEstimateIsNeverTooLow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := anyEvents(8).Draw(t, "events")
		before, chain := anyState().Draw(t, "before"), anyChain().Draw(t, "chain")
		from := rapid.IntRange(0, len(events)-1).Draw(t, "from")
		to := rapid.IntRange(from+1, len(events)).Draw(t, "to")
		common := commonBytes(before, chain)
		columns := makeColumns(events, testLimits)
		m := columns.message(from, to, before, chain, Part{Index: MaxParts, Count: MaxParts, Base: before.Version})
		body := m.Body
		size := sentBytes(m.Header)

		// With one byte less than the truth the events don't fit.
		limits := Limits{MaxMessageBytes: size + len(body) - 1, EventsPerMessage: to - from}
		if n, err := columns.fit(from, common, limits); err == nil && n == to-from {
			t.Errorf("%d bytes of headers and %d of body fit into %d", size, len(body), limits.MaxMessageBytes)
		}
		// And the estimate isn't far above it: numbers, what is reserved, the size.
		limits.MaxMessageBytes = size + len(body) + 128
		if n, err := columns.fit(from, common, limits); err != nil || n != to-from {
			t.Errorf("%d bytes of headers and %d of body don't fit into %d: %d events, %v", size, len(body), limits.MaxMessageBytes, n, err)
		}

		// What is said to be one message for certain is one by the estimate.
		limits = Limits{MaxMessages: 1, MaxMessageBytes: 4096 + rapid.IntRange(0, 1<<18).Draw(t, "limit")}
		if oneMessage(events, limits) {
			if n, err := columns.fit(0, common, limits); err != nil || n != len(events) {
				t.Errorf("%d of %d events fit into one message, %v", n, len(events), err)
			}
		}
	})
}

// A commit of one event is encoded by itself, and as if it were of several.
func TestOneEventIsEncodedAsSeveralAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := anyEvents(1).Draw(t, "events")[:1]
		before, chain := anyState().Draw(t, "before"), anyChain().Draw(t, "chain")
		columns := makeColumns(events, testLimits)
		want := columns.message(0, 1, before, chain, Part{})
		if got := encodeEvent(events, before, chain); !reflect.DeepEqual(got, want) {
			t.Errorf("%q\nwant %q", got, want)
		}
	})
}

func TestEncodingLeavesItsArgumentsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := anyEvents(5).Draw(t, "events")
		chain := anyChain().Draw(t, "chain")
		copied := slices.Clone(events)
		for i := range copied {
			copied[i].Data, copied[i].Metadata = bytes.Clone(events[i].Data), bytes.Clone(events[i].Metadata)
		}
		copiedChain := slices.Clone(chain)
		encodeOne(t, events, begun(3), chain)
		if !reflect.DeepEqual(events, copied) || !slices.Equal(chain, copiedChain) {
			t.Error("they were changed")
		}
	})
}

func TestF14_SizeIsWrittenOnlyWhereTheBodyDoesNotTell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := anyEvents(4).Draw(t, "events")
		m := encodeOne(t, events, begun(0), nil)
		want := len(events) > 1 || len(events[0].Data) == 0
		if _, ok := m.Header[HeaderSize]; ok != want {
			t.Errorf("%d events have %s %q", len(events), HeaderSize, m.Header[HeaderSize])
		}
	})
}

func TestF12_AbsentIdsAreNotWritten(t *testing.T) {
	events := plainEvents(2)
	m := encodeOne(t, events, begun(0), nil)
	for _, name := range []string{HeaderCausation, HeaderCorrelation, HeaderMetadata} {
		if values, ok := m.Header[name]; ok {
			t.Errorf("%s %q", name, values)
		}
	}
	for i := range m.Header {
		if slices.Contains(m.Header[i], uuid.Nil.String()) {
			t.Errorf("%s names the nil id", i)
		}
	}
}
