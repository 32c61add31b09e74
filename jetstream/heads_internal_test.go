package jetstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

func headAt(position uint64, recents int) *head {
	h := &head{position: position, exists: true, state: wire.State{Version: position, First: 1, ID: 1}}
	for range recents {
		h.recent = append(h.recent, recent{id: uuid.New(), position: position})
	}
	return h
}

func TestTheHeadCacheIsBoundedInNumber(t *testing.T) {
	c := newHeadCache(10)
	for i := range 1000 {
		c.put(fmt.Sprintf("events.%d", i), headAt(uint64(i+1), 0))
		if n := len(c.entries); n > 10 || n != c.used.Len() {
			t.Fatalf("%d entries, %d in the list, want 10 at most", n, c.used.Len())
		}
	}
	for i := 990; i < 1000; i++ {
		if h := c.get(fmt.Sprintf("events.%d", i)); h == nil || h.position != uint64(i+1) {
			t.Errorf("the head of %d, one of the last ten, is %+v", i, h)
		}
	}
}

func TestTheHeadCacheForgetsWhatIsLeastUsed(t *testing.T) {
	c := newHeadCache(2)
	c.put("a", headAt(1, 0))
	c.put("b", headAt(2, 0))
	if known, floor := c.seen("b"); known == nil || floor != 2 {
		t.Errorf("b was seen at %d, want 2", floor)
	}
	c.get("a")
	c.put("c", headAt(3, 0))
	if c.get("b") != nil || c.get("a") == nil || c.get("c") == nil {
		t.Error("b was used least, and is not the one that was forgotten")
	}
	if known, floor := c.seen("b"); known != nil || floor < 2 {
		t.Errorf("b was seen at %d, want 2 or more", floor)
	}
}

// Between reading a head and remembering it, a later one may be remembered and
// forgotten.
func TestTheHeadCacheTakesNoHeadThatMayBeOlderThanOneForgotten(t *testing.T) {
	c := newHeadCache(1)
	c.put("a", headAt(7, 0))
	c.put("b", headAt(9, 0))
	c.put("a", headAt(6, 0))
	if h := c.get("a"); h != nil {
		t.Errorf("a, seen at 7, is remembered at %d", h.position)
	}
	proven := headAt(6, 0)
	proven.upTo = 9 // say, it was put back to that
	c.put("a", proven)
	if c.get("a") != proven {
		t.Error("a head that is proven to be the latest is not remembered")
	}
}

func TestTheHeadCacheIsBoundedInBytes(t *testing.T) {
	c := newHeadCache(10)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		c.put(fmt.Sprintf("events.%d", random.IntN(30)), headAt(uint64(i+1), random.IntN(200)))
		sum := 0
		for _, e := range c.entries {
			entry := e.Value.(*headEntry)
			if want := entry.head.bytes() + len(entry.subject); entry.bytes != want {
				t.Fatalf("an entry counts as %d bytes, want %d", entry.bytes, want)
			}
			sum += entry.bytes
		}
		if sum != c.bytes {
			t.Fatalf("%d bytes are counted, there are %d", c.bytes, sum)
		}
		if c.bytes > c.maxBytes && len(c.entries) > 1 {
			t.Fatalf("%d bytes in %d entries, limit %d", c.bytes, len(c.entries), c.maxBytes)
		}
	}
}

func TestAHeadInTheCacheNeverGoesBack(t *testing.T) {
	c := newHeadCache(10)
	c.put("a", headAt(5, 3))
	for _, older := range []*head{headAt(4, 0), headAt(4, 9), headAt(5, 0), {position: 1}} {
		c.put("a", older)
		if h := c.get("a"); h.position != 5 || len(h.recent) != 3 {
			t.Errorf("after putting position %d with %d ids, it is %d with %d", older.position, len(older.recent), h.position, len(h.recent))
		}
	}
	c.put("a", headAt(5, 4)) // the same, and more of it is known
	if h := c.get("a"); len(h.recent) != 4 {
		t.Errorf("%d ids, want 4", len(h.recent))
	}
	c.put("a", headAt(6, 0))
	if h := c.get("a"); h.position != 6 {
		t.Errorf("position %d, want 6", h.position)
	}

	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := uint64(0)
			for range 2000 {
				c.put("b", headAt(1+rand.Uint64N(1000), 0))
				h := c.get("b")
				if h.position < last {
					t.Errorf("position %d after %d", h.position, last)
					return
				}
				last = h.position
			}
		})
	}
	wg.Wait()
}

func TestTheHeadCacheKeepsNoMessage(t *testing.T) {
	c := newHeadCache(10)
	h := headAt(1, 0)
	h.tail = &stored{position: 1, body: make([]byte, 1<<20)}
	c.put("a", h)
	if c.get("a").tail != nil {
		t.Error("a message is kept in memory")
	}
	if h.tail == nil {
		t.Error("the reader's own head lost its message")
	}
}

// Whatever is appended, and in whatever sizes, links and ids stay those of the
// latest commits.
func TestAHeadAfterAppendsKnowsTheLatestCommits(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 40 {
		h := &head{}
		state := wire.State{First: 1, ID: 1}
		var ids []uuid.UUID
		var sizes []int
		for position := uint64(1); position <= 40; position++ {
			n := 1 + random.IntN(5)
			if random.IntN(20) == 0 {
				n = 600
			}
			events := make([]backend.UnsavedEvent, n)
			for i := range events {
				events[i].EventUUID = uuid.New()
				ids = append(ids, events[i].EventUUID)
			}
			sizes = append(sizes, n)
			h = h.after(state, events, 1)
			h.setPosition(position)
			state = h.state
			if int(h.state.Version) != len(ids) {
				t.Fatalf("version %d, want %d", h.state.Version, len(ids))
			}
			if len(h.links) != min(len(sizes), maxLinks) {
				t.Fatalf("%d links after %d commits", len(h.links), len(sizes))
			}
			for i, l := range h.links {
				if l.Position != position-uint64(i) || int(l.Events) != sizes[len(sizes)-1-i] {
					t.Fatalf("link %d is %+v", i, l)
				}
			}
			if len(h.recent) > int(h.linked()) || len(h.recent) > maxRecent {
				t.Fatalf("%d ids are kept, %d events are linked", len(h.recent), h.linked())
			}
			for i, r := range h.recent {
				if r.id != ids[len(ids)-len(h.recent)+i] {
					t.Fatalf("the id of %d of %d is wrong", i, len(h.recent))
				}
			}
		}
	}
}

func TestLocksServeOneAtATimeAndAreForgotten(t *testing.T) {
	b := &Backend{queues: newQueues(true)}
	var wg sync.WaitGroup
	var mu sync.Mutex
	inside := map[string]int{}
	for i := range 32 {
		subject := fmt.Sprint(i % 3)
		wg.Go(func() {
			for n := range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				if n%7 == 0 {
					cancel() // it may still get its turn, or not
				}
				err := b.lock(ctx, target{subject: subject})
				cancel()
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("error %v", err)
					}
					continue
				}
				mu.Lock()
				inside[subject]++
				if inside[subject] != 1 {
					t.Errorf("%d at a time", inside[subject])
				}
				mu.Unlock()
				mu.Lock()
				inside[subject]--
				mu.Unlock()
				b.unlock(target{subject: subject})
			}
		})
	}
	wg.Wait()
	if len(b.queues.open) != 0 {
		t.Errorf("%d queues are left", len(b.queues.open))
	}
}

func TestALockThatIsWaitedForInVainIsNotLost(t *testing.T) {
	b := &Backend{queues: newQueues(true)}
	if err := b.lock(t.Context(), target{subject: "a"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := b.lock(ctx, target{subject: "a"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want DeadlineExceeded", err)
	}
	b.unlock(target{subject: "a"})
	if len(b.queues.open) != 0 {
		t.Errorf("%d queues are left", len(b.queues.open))
	}
	if err := b.lock(t.Context(), target{subject: "a"}); err != nil {
		t.Fatal(err)
	}
	b.unlock(target{subject: "a"})
}
