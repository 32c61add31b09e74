package jetstream

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
)

// A leader of several replicas that was just elected answers with less than was
// acknowledged, until it has caught up. No test can make a real one slow to: here
// what the server answered before is answered once more, for longer than a
// leader of one replica is waited for.
func TestALeaderThatHasYetToCatchUpIsWaitedFor(t *testing.T) {
	s := testserver.Single(t)
	b, err := Open(t.Context(), s.Connect(t), Config{RequestTimeout: 50 * time.Millisecond, ReadConsistency: ReadLeader})
	if err != nil {
		t.Fatal(err)
	}
	b.replicas = 3 // as far as it knows
	leader := s.Connect(t)
	add := func() {
		if _, err := b.Append(t.Context(), "x", backend.AnyVersion(), []backend.UnsavedEvent{{EventType: "Happened"}}, uuid.Nil); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(question *nats.Msg, subject string) *nats.Msg {
		answer, err := leader.Request(subject, question.Data, 10*time.Second)
		if err != nil {
			t.Error(err)
			return &nats.Msg{}
		}
		return answer
	}
	add()
	before := ask(&nats.Msg{Data: []byte(`{"last_by_subj":"events.x"}`)}, b.api.get)
	add()

	get, old := b.api.get, 0
	b.api.get = "lags." + get
	var until time.Time
	_, err = s.Connect(t).Subscribe(b.api.get, func(m *nats.Msg) {
		if until.IsZero() {
			until = time.Now().Add(5 * b.cfg.RequestTimeout)
		}
		answer := before
		if time.Now().After(until) {
			answer = ask(m, get)
		} else {
			old++
		}
		if err := m.Respond(answer.Data); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	info, err := b.ReadStreamInfo(ctx, "x", uuid.Nil)
	if err != nil || info.Version != 2 {
		t.Errorf("version %d, error %v, want version 2", info.Version, err)
	}
	if old == 0 {
		t.Error("the leader's answers were never old")
	}
}
