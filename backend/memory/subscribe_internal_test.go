package memory

import (
	"testing"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// appendOwn appends to an event stream of the store's own, whose name nobody else
// can use.
func appendOwn(t *testing.T, b *Backend, streamUUID string) {
	t.Helper()
	prepared, _, err := backend.Prepare(streamUUID, []backend.UnsavedEvent{{EventType: "Parked"}}, uuid.Nil)
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.append(streamUUID, backend.AnyVersion(), prepared, record(streamUUID, prepared)); err != nil {
		t.Fatal(err)
	}
}

func TestEventStreamsOfTheStoresOwnArePassedOver(t *testing.T) {
	b := New()
	mine := func() {
		t.Helper()
		if _, err := b.Append(t.Context(), "account-42", backend.AnyVersion(), []backend.UnsavedEvent{{EventType: "Happened"}}, uuid.Nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		appendOwn(t, b, "$parked.projection")
		mine()
	}
	appendOwn(t, b, "$parked.projection")

	read := 0
	for batch, err := range b.ReadAll(t.Context(), backend.ReadAllOptions{}, uuid.Nil) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range batch {
			if read++; e.StreamUUID != "account-42" {
				t.Errorf("ReadAll yielded an event of %q", e.StreamUUID)
			}
		}
	}
	followed := 0
	for batch, err := range b.Subscribe(t.Context(), backend.SubscribeOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range batch.Events {
			if followed++; e.StreamUUID != "account-42" {
				t.Errorf("Subscribe yielded an event of %q", e.StreamUUID)
			}
		}
		if followed == 4 {
			break
		}
		if batch.CaughtUp {
			appendOwn(t, b, "$parked.projection")
			mine()
		}
	}
	if read != 3 {
		t.Errorf("ReadAll yielded %d events, want 3", read)
	}
}
