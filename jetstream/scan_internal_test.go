package jetstream

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

func TestWhatTheServerTellsOfAMessageIsRead(t *testing.T) {
	s := scan{mark: ".C."}
	want := metadata{position: 17, delivery: 3, at: time.Unix(1700000000, 123456789).UTC(), pending: 4}
	for _, reply := range []string{
		"$JS.ACK.S.C.1.17.3.1700000000123456789.4",
		"$JS.ACK._.hash.S.C.1.17.3.1700000000123456789.4.token",
		"$JS.ACK.hub.hash.S.C.1.17.3.1700000000123456789.4",
	} {
		if got, err := s.metadata(reply); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", reply, got, err, want)
		}
	}
	for _, reply := range []string{
		"", ".C.", "_INBOX.x", "$JS.ACK.S.D.1.17.3.1700000000123456789.4", "$JS.ACK.S.C.1.17.3.1700000000123456789",
		"$JS.ACK.S.C.1.x.3.1700000000123456789.4", "$JS.ACK.S.C.1.-17.3.1700000000123456789.4",
		"$JS.ACK.S.C.1..3.1700000000123456789.4", "$JS.ACK.S.C.1.18446744073709551616.3.1700000000123456789.4",
	} {
		if got, err := s.metadata(reply); err == nil {
			t.Errorf("%q: %+v, want an error", reply, got)
		}
	}
}

// What is read is what nats.go reads.
func FuzzMetadata(f *testing.F) {
	f.Add("$JS.ACK.S.C.1.17.3.1700000000123456789.4")
	f.Add("$JS.ACK._.hash.S.C.1.17.3.1700000000123456789.4.token")
	f.Add("$JS.ACK.hub.hash.S.C.9.18446744073709551615.0.0.0")
	f.Fuzz(func(t *testing.T, reply string) {
		s := scan{mark: ".C."}
		got, err := s.metadata(reply)
		if err != nil {
			return
		}
		msg := nats.Msg{Reply: reply, Sub: &nats.Subscription{}}
		m, err := msg.Metadata()
		if err != nil || m.Consumer != "C" || strings.Count(reply, s.mark) > 1 {
			return // no subject of the server's
		}
		want := metadata{position: m.Sequence.Stream, delivery: m.Sequence.Consumer, at: m.Timestamp.UTC(), pending: m.NumPending}
		if got != want {
			t.Errorf("%q: %+v, want %+v", reply, got, want)
		}
	})
}

// delivered is a message of one event as a consumer delivers it.
func delivered(t testing.TB, events int) *nats.Msg {
	t.Helper()
	unsaved := make([]backend.UnsavedEvent, events)
	for i := range unsaved {
		unsaved[i] = backend.UnsavedEvent{EventUUID: uuid.New(), EventType: "Tested", Data: []byte("x"), CreatedAt: time.Now().UTC()}
	}
	before := wire.State{Version: 100, First: 1, ID: 1, Created: time.Now().UTC()}
	messages, err := wire.EncodeEvents(unsaved, before, false, nil, wire.Limits{MaxMessageBytes: 1 << 20, MaxMessages: 1})
	if err != nil {
		t.Fatal(err)
	}
	return &nats.Msg{Subject: "events.x", Reply: "$JS.ACK.S.C.1.17.1.1700000000123456789.4", Header: messages[0].Header, Data: messages[0].Body}
}

// All that is allocated for an event is by nats.go, and the batch that it is
// returned in.
func TestReadingAnEventAllocatesNothing(t *testing.T) {
	for _, events := range []int{1, 10} {
		msg := delivered(t, events)
		s := scan{mark: ".C.", end: 1 << 40}
		var c commit
		batch := make([]backend.RecordedEvent, 0, events)
		allocs := testing.AllocsPerRun(100, func() {
			s.delivered, s.underway, s.after = 0, 1, 0
			m, err := s.accept(t.Context(), msg)
			if err != nil {
				t.Fatal(err)
			}
			p, err := c.decode(m)
			if err != nil || !c.add(p) {
				t.Fatal("not taken", err)
			}
			if batch, err = c.appendEvents(batch[:0], "x", 0, 1000); err != nil || len(batch) != events {
				t.Fatalf("%d events, %v", len(batch), err)
			}
			c.clear()
		})
		if allocs != 0 {
			t.Errorf("%d events: %v allocations, want none", events, allocs)
		}
	}
}
