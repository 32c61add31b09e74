//go:build unix

package membertest

import (
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// A process that is paused finds when it goes on that others took over: it does
// nothing more of what it had read, and comes back as a new member.
func TestAPausedMemberGivesWay(t *testing.T) {
	const streams, writers, commits, pauses = 50, 8, 1600, 3 // commits for each pause
	s := testserver.Single(t)
	nc := s.Connect(t, nats.Timeout(patience))
	b, err := jetstream.Open(t.Context(), nc, jetstream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	report := l.listen(t, nc)
	var members []*process
	for i := range 3 {
		members = append(members, startProcess(t, order{URL: s.URL(), Member: fmt.Sprint("member-", i), Report: report}))
	}
	untilMembers(t, b, "member-0", "member-1", "member-2")
	for k := range pauses {
		var writing sync.WaitGroup
		for w := range writers { // faster than it is handled
			writing.Go(func() {
				for i := range commits / writers {
					events := []backend.UnsavedEvent{{EventType: "Happened"}}
					name := fmt.Sprint("load.", (writers*i+w)%streams)
					if _, err := b.Append(t.Context(), name, backend.AnyVersion(), events, uuid.Nil); err != nil {
						t.Errorf("append: %v", err)
					}
				}
			})
		}
		l.wait(t, commits*k+commits/4)
		p := members[k%2]
		p.signal(syscall.SIGSTOP)
		untilMembers(t, b, without(members, p)...)
		writing.Wait()
		l.wait(t, commits*(k+1)) // the others have done all that it had begun

		before := l.callsOf(p.member)
		p.signal(syscall.SIGCONT)
		untilMembers(t, b, "member-0", "member-1", "member-2")
		// Of what it had begun, a handler may have been about to tell.
		if late := l.callsOf(p.member) - before; late > concurrency {
			t.Errorf("it handled %d commits that others had, want %d at most", late, concurrency)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, wrong := range l.wrong {
		t.Error(wrong)
	}
	t.Logf("%d commits, %d pauses: %d calls of handlers, %d repeats", commits*pauses, pauses, l.calls, l.repeats)
}

// without returns the names of the members but one.
func without(members []*process, p *process) (names []string) {
	for _, m := range members {
		if m != p {
			names = append(names, m.member)
		}
	}
	return names
}

// untilMembers waits until the members are these, and each has a part.
func untilMembers(t *testing.T, b backend.Backend, want ...string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		infos, err := backend.Subscriptions(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, info := range infos {
			for _, m := range info.Members {
				if m.Partitions > 0 {
					names = append(names, m.Name)
				}
			}
		}
		if slices.Sort(names); slices.Equal(names, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the members that have a part are %q, want %q", names, want)
		}
	}
}

func (p *process) signal(signal syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
}
