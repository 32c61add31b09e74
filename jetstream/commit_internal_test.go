package jetstream

import (
	"fmt"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// A reader's commit is used again and again for as long as it lives.
func TestACommitHoldsNothingOfTheOneBefore(t *testing.T) {
	var c commit
	position := uint64(0)
	complete := func(n int, before wire.State) (bodies []weak.Pointer[byte]) {
		unsaved := make([]backend.UnsavedEvent, n)
		for i := range unsaved {
			unsaved[i] = backend.UnsavedEvent{EventType: "Tested", Data: fmt.Appendf(nil, `{"i":%d}`, i)}
		}
		events, _, err := backend.Prepare("", unsaved, uuid.Nil)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := wire.EncodeEvents(events, before, before.Version == 0, nil,
			wire.Limits{MaxMessageBytes: 1 << 20, EventsPerMessage: 1, MaxMessages: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			position++
			body := make([]byte, max(len(m.Body), 64<<10)) // an allocation of its own
			copy(body, m.Body)
			p, err := c.decode(&stored{subject: "events.x", position: position, header: m.Header, body: body[:len(m.Body)]})
			if err != nil || !c.add(p) {
				t.Fatalf("message %d is no part: %v", position, err)
			}
			bodies = append(bodies, weak.Make(&body[0]))
		}
		if !c.complete() {
			t.Fatal("it isn't complete")
		}
		return bodies
	}
	state := wire.State{First: 1, ID: 4711, Created: time.Now().UTC()}
	bodies := complete(20, state)
	c.clear()
	state.Version = 20
	complete(1, state)
	runtime.GC()
	for i, body := range bodies {
		if body.Value() != nil {
			t.Errorf("message %d of the commit before is still held", i+1)
		}
	}
	runtime.KeepAlive(&c)
}
