package jetstream

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// A file store has a limit of its own, which the server only tells of when it has
// the message.
func TestWhatAFileStoreDoesNotTakeIsRefused(t *testing.T) {
	nc := testserver.Single(t, testserver.MaxPayload(40<<20)).Connect(t)
	b, err := Open(t.Context(), nc, Config{})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 33<<20)
	events := []backend.UnsavedEvent{{EventType: "Tested", Data: data}}
	sent := nc.Stats().OutMsgs
	if _, err := backend.Append(t.Context(), b, "x", backend.NoStream(), events, uuid.Nil); !errors.Is(err, backend.ErrEventTooLarge) {
		t.Errorf("error %v, want ErrEventTooLarge", err)
	}
	if now := nc.Stats().OutMsgs; now != sent {
		t.Errorf("%d messages were sent", now-sent)
	}
	t.Run("before it is sent, and not what it takes", func(t *testing.T) {
		events[0].Data = data[:maxFileStored-2<<10]
		if _, err := backend.Append(t.Context(), b, "x", backend.NoStream(), events, uuid.Nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("by the server", func(t *testing.T) {
		answer, err := nc.Request("events.y", data, 30*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, v, err := b.judge(answer, &write{}); v != vRefused || !errors.Is(err, backend.ErrEventTooLarge) {
			t.Errorf("verdict %d, error %v, want %d and ErrEventTooLarge", v, err, vRefused)
		}
	})
}

// What the server takes can become less after it was looked at.
func TestAMessageOfABatchThatTheClientDoesNotSendIsRefused(t *testing.T) {
	nc := testserver.Single(t).Connect(t)
	b, err := Open(t.Context(), nc, Config{})
	if err != nil {
		t.Fatal(err)
	}
	small, large := wire.Message{Header: nats.Header{}, Body: []byte("x")}, wire.Message{Header: nats.Header{}, Body: make([]byte, nc.MaxPayload()+1)}
	for name, messages := range map[string][]wire.Message{"the first": {large, small}, "the last": {small, large}} {
		ack := b.acks.get("events.x")
		_, v, err := b.send(t.Context(), &write{target: target{"x", "events.x"}, messages: messages, before: &head{}}, ack)
		if v != vRefused || !errors.Is(err, backend.ErrEventTooLarge) {
			t.Errorf("%s: verdict %d, error %v, want %d and ErrEventTooLarge", name, v, err, vRefused)
		}
	}
}
