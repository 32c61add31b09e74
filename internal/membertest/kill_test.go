package membertest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/racedetector"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

// ledger is what all members together have handled.
type ledger struct {
	mu      sync.Mutex
	changed *sync.Cond
	streams map[string]uint64 // the last version of each
	calls   int
	by      map[string]int // calls of each member
	events  int            // handled for the first time
	repeats int            // handled again
	wrong   []string
}

func newLedger() *ledger {
	l := &ledger{streams: map[string]uint64{}, by: map[string]int{}}
	l.changed = sync.NewCond(&l.mu)
	return l
}

// note notes a call, which must be for what follows, or for something again.
func (l *ledger) note(h handled) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.changed.Broadcast()
	l.calls++
	l.by[h.Member]++
	seen := l.streams[h.Stream]
	if h.First > seen+1 && len(l.wrong) < 10 {
		l.wrong = append(l.wrong, fmt.Sprintf("%s handled version %d of %s, of which %d was the last handled", h.Member, h.First, h.Stream, seen))
	}
	for version := h.First; version <= h.Last; version++ {
		if version > seen {
			l.events++
		} else {
			l.repeats++
		}
	}
	l.streams[h.Stream] = max(seen, h.Last)
}

// listen returns the subject on which the members tell it what they handle.
func (l *ledger) listen(t *testing.T, nc *nats.Conn) (report string) {
	t.Helper()
	report = nc.NewInbox()
	if _, err := nc.Subscribe(report, func(m *nats.Msg) {
		var h handled
		if err := json.Unmarshal(m.Data, &h); err != nil {
			t.Error(err)
		}
		l.note(h)
		_ = m.Respond(nil)
	}); err != nil {
		t.Fatal(err)
	}
	return report
}

// callsOf is how many calls a member has told of.
func (l *ledger) callsOf(member string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.by[member]
}

// wait waits until so many events were handled at least once.
func (l *ledger) wait(t *testing.T, events int) {
	t.Helper()
	l.until(t, fmt.Sprintf("%d events are handled", events), func() bool { return l.events >= events })
}

// waitForOthers waits until another than a member handles something, or nothing
// is left.
func (l *ledger) waitForOthers(t *testing.T, member string, events int) {
	t.Helper()
	l.mu.Lock()
	before := l.calls - l.by[member]
	l.mu.Unlock()
	l.until(t, "others than "+member+" go on", func() bool { return l.calls-l.by[member] > before || l.events >= events })
}

func (l *ledger) until(t *testing.T, what string, is func() bool) {
	t.Helper()
	expired := false
	timer := time.AfterFunc(patience, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		expired = true
		l.changed.Broadcast()
	})
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !is() && !expired {
		l.changed.Wait()
	}
	if expired {
		t.Fatalf("it didn't come in %v that %s: %d events were", patience, what, l.events)
	}
}

// Three members, of which two are killed and started again in turn, while commits
// are appended: every event is handled at least once, and in order within its
// event stream.
func TestKilledMembersLoseNothingAndKeepTheOrder(t *testing.T) {
	t.Run("one server", func(t *testing.T) {
		commits := 20_000
		if racedetector.On {
			commits = 4_000
		}
		s := testserver.Single(t)
		killedMembers(t, s.Connect(t, nats.Timeout(patience)), s.URL(), jetstream.Config{}, commits, 8)
	})
	t.Run("three replicas", func(t *testing.T) {
		commits := 5_000
		if racedetector.On {
			commits = 2_000
		}
		c := testserver.Cluster(t, 3)
		killedMembers(t, c.Connect(t, nats.Timeout(patience)), c.URLs(), jetstream.Config{Replicas: 3, Timeout: patience}, commits, 4)
	})
}

func killedMembers(t *testing.T, nc *nats.Conn, url string, cfg jetstream.Config, commits, kills int) {
	const streams, writers = 200, 4
	b, err := jetstream.Open(t.Context(), nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	report := l.listen(t, nc)
	var members []*process
	for i := range 3 {
		members = append(members, startProcess(t, order{URL: url, Member: fmt.Sprint("member-", i), Report: report}))
	}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var writing sync.WaitGroup
	defer writing.Wait()
	for w := range writers {
		writing.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 0))
			for i := range commits / writers {
				events := []backend.UnsavedEvent{{EventType: "Happened", Data: fmt.Appendf(nil, `{"n":%d}`, i)}, {EventType: "HappenedToo"}}
				name := fmt.Sprint("load.", random.IntN(streams))
				if _, err := b.Append(ctx, name, backend.AnyVersion(), events, uuid.Nil); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	for k := range kills {
		l.wait(t, 2*commits*(k+1)/(kills+2))
		p := members[1+k%2]
		p.kill()
		l.waitForOthers(t, p.member, 2*commits)
		p.start()
	}
	l.wait(t, 2*commits)
	writing.Wait()

	l.mu.Lock()
	defer l.mu.Unlock()
	for _, wrong := range l.wrong {
		t.Error(wrong)
	}
	for name, version := range l.streams {
		info, err := b.ReadStreamInfo(t.Context(), name, uuid.Nil)
		if err != nil || info.Version != version {
			t.Errorf("%s was handled up to version %d, its version is %d, error %v", name, version, info.Version, err)
		}
	}
	t.Logf("%d commits of 2 events, %d kills: %d calls of handlers, %d events repeated", commits, kills, l.calls, l.repeats)
}
