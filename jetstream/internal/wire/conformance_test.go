package wire_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// sent is a message as it was sent to the server.
type sent struct {
	*nats.Msg
	rec wire.Record
}

// lifeOfAnEventStream does everything to the event stream a that can be done, and
// returns what was sent.
func lifeOfAnEventStream(t *testing.T) (*nats.Conn, []sent) {
	nc := testserver.Single(t).Connect(t)
	sub, err := nc.SubscribeSync("events.>") // the messages as they are on their way
	if err != nil {
		t.Fatal(err)
	}
	b, err := jetstream.Open(t.Context(), nc, jetstream.Config{EventsPerMessage: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	add := func(n int) {
		events := make([]backend.UnsavedEvent, n)
		for i := range events {
			events[i] = backend.UnsavedEvent{EventType: "Deposited", Metadata: []byte("Nats-Msg-Id: 1\r\nNats-Rollup: sub")}
		}
		_, err := backend.Append(ctx, b, "a", backend.AnyVersion(), events, uuid.New())
		do(t, err)
	}
	_, err = b.CreateStream(ctx, backend.Stream{UUID: "a"}, uuid.Nil)
	do(t, err)
	add(1)
	add(2)
	add(5)
	do(t, backend.SoftDelete(ctx, b, "a", backend.AnyVersion(), uuid.Nil))
	do(t, backend.Restore(ctx, b, "a", uuid.Nil))
	do(t, backend.Truncate(ctx, b, "a", 3, uuid.Nil))
	add(1)
	do(t, backend.Truncate(ctx, b, "a", 100, uuid.Nil))
	add(1)
	do(t, b.DeleteStream(ctx, backend.Stream{UUID: "a"}, uuid.Nil))
	add(3)
	const messages = 1 + 1 + 1 + 3 + 3 + 1 + 1 + 1 + 1 + 2
	var all []sent
	for range messages {
		msg, err := sub.NextMsg(10 * time.Second)
		do(t, err)
		rec, err := wire.Decode(msg.Header, msg.Data)
		do(t, err)
		all = append(all, sent{msg, rec})
	}
	if msg, err := sub.NextMsg(50 * time.Millisecond); err == nil {
		t.Fatalf("one message more: %q", msg.Header)
	}
	return nc, all
}

func do(t *testing.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func TestStoredEventStreamsFollowTheFormat(t *testing.T) {
	nc, all := lifeOfAnEventStream(t)

	t.Run("F01_TheFormatIsInTheMetadata", func(t *testing.T) {
		js, err := natsjs.New(nc)
		do(t, err)
		stream, err := js.Stream(t.Context(), "EVENTS")
		do(t, err)
		if got := stream.CachedInfo().Config.Metadata["tributary.format"]; got != "1" {
			t.Errorf("tributary.format is %q", got)
		}
	})
	t.Run("F01_AnotherFormatIsRefused", func(t *testing.T) {
		js, err := natsjs.New(nc)
		do(t, err)
		_, err = js.CreateStream(t.Context(), natsjs.StreamConfig{Name: "LATER", Subjects: []string{"later.>"}, AllowDirect: true, AllowRollup: true,
			AllowAtomicPublish: true, DenyDelete: true, Discard: natsjs.DiscardNew, Metadata: map[string]string{"tributary.format": "2"}})
		do(t, err)
		if _, err := jetstream.Open(t.Context(), nc, jetstream.Config{Stream: "LATER", Prefix: "later"}); err == nil || !strings.Contains(err.Error(), "tributary.format") {
			t.Errorf("opening it: %v", err)
		}
	})
	t.Run("F02_AnEventStreamHasOneSubject", func(t *testing.T) {
		for i, m := range all {
			if m.Subject != "events.a" {
				t.Errorf("message %d is on %s", i, m.Subject)
			}
		}
	})
	t.Run("F23_EveryKindOccurs", func(t *testing.T) {
		var kinds []string
		for _, m := range all {
			kinds = append(kinds, m.rec.Kind.String())
		}
		want := []string{"created", "events", "events", "events", "events", "events", "soft-deleted", "restored", "truncated", "events", "truncated", "events", "erased", "events", "events"}
		if !slices.Equal(kinds, want) {
			t.Errorf("kinds %q, want %q", kinds, want)
		}
	})
	t.Run("F24_RollupErases", func(t *testing.T) {
		rollups := 0
		for i, m := range all {
			again := i > 0 && all[i-1].rec.Kind == wire.Erased // begins where there was one before
			want := again || m.rec.Kind == wire.Erased || m.rec.Kind == wire.Truncated && m.rec.State.First > m.rec.State.Version
			got, ok := m.Header["Nats-Rollup"]
			if ok != want || want && !slices.Equal(got, []string{"sub"}) {
				t.Errorf("message %d, %v: Nats-Rollup %q", i, m.rec.Kind, got)
			}
			if want {
				rollups++
			}
		}
		if rollups != 3 {
			t.Errorf("%d messages erase, want 3", rollups)
		}
	})
	t.Run("F26_PartsAreAnAtomicBatch", func(t *testing.T) {
		batch := ""
		for i, m := range all {
			p := m.rec.Part
			if p.Index == 1 {
				batch = m.Header.Get("Nats-Batch-Id")
			}
			if p.Count == 0 {
				batch = ""
			}
			commit := ""
			if p.Count > 0 && p.Last() {
				commit = "1"
			}
			if m.Header.Get("Nats-Batch-Id") != batch || (batch != "") != (p.Count > 0) || m.Header.Get("Nats-Batch-Commit") != commit {
				t.Errorf("message %d, part %+v: %q", i, p, m.Header)
			}
		}
	})
	t.Run("F30_VersionsFollowEachOther", func(t *testing.T) {
		version, first := uint64(0), uint64(1)
		for i, m := range all {
			if m.rec.FirstVersion() != version+1 {
				t.Errorf("message %d, %v, begins at version %d after %d", i, m.rec.Kind, m.rec.FirstVersion(), version)
			}
			if m.rec.State.First < first {
				t.Errorf("message %d: the first version went back to %d", i, m.rec.State.First)
			}
			version, first = m.rec.State.Version, m.rec.State.First
			if m.rec.Kind == wire.Erased {
				version, first = 0, 1
			}
		}
	})
	t.Run("F31_AnErasedEventStreamsSuccessorHasAnotherID", func(t *testing.T) {
		ids := map[uint64]bool{}
		for i, m := range all {
			if i == 0 || all[i-1].rec.Kind == wire.Erased {
				if ids[m.rec.State.ID] {
					t.Errorf("message %d begins an event stream with an old id", i)
				}
				ids[m.rec.State.ID] = true
			} else if m.rec.State.ID != all[i-1].rec.State.ID || !m.rec.State.Created.Equal(all[i-1].rec.State.Created) {
				t.Errorf("message %d has another id or beginning", i)
			}
		}
		if len(ids) != 2 {
			t.Errorf("%d ids", len(ids))
		}
	})
	t.Run("F32_EveryWriteIsFencedOnce", func(t *testing.T) {
		position := 0 // they are numbered as they are sent: nothing else is in the JetStream stream
		for i, m := range all {
			var expected []string
			for name := range m.Header {
				if strings.HasPrefix(name, "Nats-Expected-") {
					expected = append(expected, name)
				}
			}
			if m.rec.Part.Index > 1 {
				if len(expected) != 0 {
					t.Errorf("message %d, part %+v, has %q", i, m.rec.Part, expected)
				}
			} else if !slices.Equal(expected, []string{"Nats-Expected-Last-Subject-Sequence"}) || m.Header.Get(expected[0]) != strconv.Itoa(position) {
				t.Errorf("message %d: %q, want the position %d", i, m.Header, position)
			}
			position++
		}
	})
	t.Run("F33_NoMessageID", func(t *testing.T) {
		for i, m := range all {
			if m.Header["Nats-Msg-Id"] != nil {
				t.Errorf("message %d has one", i)
			}
		}
	})
	t.Run("F34_SingleMessagesCantBeDeleted", func(t *testing.T) {
		js, err := natsjs.New(nc)
		do(t, err)
		stream, err := js.Stream(t.Context(), "EVENTS")
		do(t, err)
		last, err := stream.GetLastMsgForSubject(t.Context(), "events.a")
		do(t, err)
		if last.Sequence != uint64(len(all)) {
			t.Errorf("the last message is %d, want %d", last.Sequence, len(all))
		}
		if err := stream.DeleteMsg(t.Context(), last.Sequence); err == nil {
			t.Error("the last message was deleted")
		}
	})
	t.Run("F15_NoCallersTextIsAName", func(t *testing.T) {
		for i, m := range all {
			for name := range m.Header {
				if !strings.HasPrefix(name, "Trib-") && !slices.Contains([]string{"Nats-Expected-Last-Subject-Sequence", "Nats-Rollup",
					"Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"}, name) {
					t.Errorf("message %d has the header %q", i, name)
				}
			}
		}
	})
}
