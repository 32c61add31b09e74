package durable

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tributary-es/tributary/backend"
)

// simulated is a member of a simulated subscription, with what it believes to
// have.
type simulated struct {
	t         *term
	positions map[int]uint64
	releasing map[int]bool
	alive     time.Time
	began     time.Time // when the step began that it is at; zero: it is at none
}

// group is a subscription whose members take steps in any order. Time passes
// between the steps, and while a member waits for the document to be loaded.
type group struct {
	stored  []byte
	now     time.Time
	options shared
	members map[string]*simulated
	joined  int
}

func (g *group) load(t *rapid.T) *document {
	d, err := decodeDocument("simulated", g.stored)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (g *group) store(t *rapid.T, d *document) {
	var err error
	if g.stored, err = d.encode(); err != nil {
		t.Fatal(err)
	}
}

func (g *group) join(t *rapid.T) {
	g.joined++
	id := fmt.Sprint("member-", g.joined)
	d := g.load(t)
	d.add(id, "", g.now)
	g.store(t, d)
	g.members[id] = &simulated{
		t:         &term{member: &member{}, id: id, epoch: d.Epoch},
		positions: map[int]uint64{}, releasing: map[int]bool{}, alive: g.now,
	}
}

// step has a member look at the document, as it does every now and then.
func (g *group) step(t *rapid.T, id string) {
	m := g.members[id]
	if g.now.Sub(m.alive) >= g.options.TakeoverAfter*3/4 {
		delete(g.members, id) // it gives up
		return
	}
	if m.began.IsZero() {
		m.began = g.now
	}
	for i := range m.positions {
		if !m.releasing[i] {
			m.positions[i]++ // it deals with something
		}
	}
	s := saved{change: change{positions: m.positions, given: slices.Collect(maps.Keys(m.releasing)), at: m.began}, loaded: g.now}
	m.began = time.Time{}
	d := g.load(t)
	before := d.Partitions
	_, err := m.t.apply(d, &s)
	if errors.Is(err, errExpelled) || errors.Is(err, errReset) {
		delete(g.members, id)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	g.store(t, d)
	m.alive = s.at
	for _, i := range s.given {
		delete(m.positions, i)
	}
	clear(m.releasing)
	for _, i := range d.surplus(id) {
		if _, has := m.positions[i]; has {
			m.releasing[i] = true
		}
	}
	for _, i := range s.claimed {
		if d.Partitions[i].Position < before[i].Position {
			t.Fatalf("partition %d went back from %d to %d", i, before[i].Position, d.Partitions[i].Position)
		}
		m.positions[i] = d.Partitions[i].Position
	}
}

// wantOneOwner checks that no partition is dealt with by two members. One that
// will give up at its next step has stopped dealing with anything.
func (g *group) wantOneOwner(t *rapid.T) {
	owner := map[int]string{}
	for id, m := range g.members {
		if g.now.Sub(m.alive) >= g.options.TakeoverAfter*3/4 {
			continue
		}
		for i := range m.positions {
			if other, has := owner[i]; has {
				t.Fatalf("partition %d is dealt with by %s and by %s", i, other, id)
			}
			owner[i] = id
		}
	}
}

// A partition has one owner at a time, whoever joins, leaves, falls silent or
// wakes up too late; and when all has settled, every partition has one, and
// members have as many as each other.
func TestPartitionsHaveOneOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := sharedOf(backend.ConsumeOptions{Partitions: rapid.IntRange(1, 12).Draw(t, "partitions"), TakeoverAfter: 8 * time.Second})
		g := &group{now: time.Unix(0, 0), options: options, members: map[string]*simulated{}}
		g.store(t, newDocument(options, 0))
		pick := func(t *rapid.T) string {
			ids := slices.Sorted(maps.Keys(g.members))
			if len(ids) == 0 {
				t.Skip("no members")
			}
			return rapid.SampledFrom(ids).Draw(t, "member")
		}
		t.Repeat(map[string]func(*rapid.T){
			"": g.wantOneOwner,
			"join": func(t *rapid.T) {
				if len(g.members) < 6 {
					g.join(t)
				}
			},
			"step":  func(t *rapid.T) { g.step(t, pick(t)) },
			"step2": func(t *rapid.T) { g.step(t, pick(t)) },
			"begin": func(t *rapid.T) { // and load the document at the next step
				if m := g.members[pick(t)]; m.began.IsZero() {
					m.began = g.now
				}
			},
			"pass": func(t *rapid.T) { g.now = g.now.Add(time.Second) },
			"die":  func(t *rapid.T) { delete(g.members, pick(t)) },
			"leave": func(t *rapid.T) {
				id := pick(t)
				d := g.load(t)
				d.remove(id)
				g.store(t, d)
				delete(g.members, id)
			},
			"reset": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "seldom") == 0 {
					d := g.load(t)
					d.resetTo(rapid.Uint64Range(0, 5).Draw(t, "to"))
					g.store(t, d)
				}
			},
		})
		if len(g.members) == 0 {
			g.join(t)
		}
		for range 40 { // those that died are found out, and the others share what they had
			for _, id := range slices.Sorted(maps.Keys(g.members)) {
				g.step(t, id)
				g.wantOneOwner(t)
			}
			if len(g.members) == 0 {
				g.join(t)
			}
			g.now = g.now.Add(time.Second)
		}
		least, most := options.Partitions, 0
		total := 0
		for _, m := range g.members {
			least, most = min(least, len(m.positions)), max(most, len(m.positions))
			total += len(m.positions)
		}
		if total != options.Partitions || most-least > 1 {
			t.Fatalf("%d members have %d of %d partitions, at least %d, at most %d each", len(g.members), total, options.Partitions, least, most)
		}
	})
}

func TestAMemberThatComesTakesNoMoreThanItNeeds(t *testing.T) {
	d := newDocument(sharedOf(backend.ConsumeOptions{Partitions: 5}), 0)
	for i, want := range [][]int{{5}, {3, 2}, {2, 2, 1}, {2, 1, 1, 1}, {1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 0}} {
		ids := []string{"f", "e", "d", "c", "b", "a"}[:i+1] // their order is of no matter
		d.add(ids[i], "", time.Time{})
		for rank, id := range ids {
			if got := d.quota(id); got != want[rank] {
				t.Errorf("number %d of %d members is to have %d partitions, want %d", rank+1, len(ids), got, want[rank])
			}
		}
	}
}

func TestAResetForgetsWhatWasParkedAfterIt(t *testing.T) {
	d := newDocument(sharedOf(backend.ConsumeOptions{Partitions: 1}), 0)
	d.resetTo(10)
	d.resetTo(100)
	d.resetTo(50)
	for _, c := range []struct {
		epoch, position uint64
		want            bool
	}{
		{0, 10, false}, {0, 11, true}, {1, 10, false}, {1, 11, false}, {1, 50, false}, {1, 51, true},
		{2, 50, false}, {2, 51, true}, {3, 51, false}, {3, 1000, false},
	} {
		if got := d.forgets(c.epoch, c.position); got != c.want {
			t.Errorf("parked in epoch %d at position %d: forgotten %t, want %t", c.epoch, c.position, got, c.want)
		}
	}
	if len(d.Resets) != 2 {
		t.Errorf("%d resets are kept, of which one tells nothing that another doesn't", len(d.Resets))
	}
}

func TestTheFirstOptionThatDiffersIsNamed(t *testing.T) {
	base := backend.ConsumeOptions{Under: "a", EventTypes: []string{"A", "B"}, Partitions: 4, TakeoverAfter: time.Second}
	same := base
	same.EventTypes = []string{"B", "A", "A"}
	same.From = backend.FromNow() // which is for a new one
	if err := conflict("x", sharedOf(base), sharedOf(same)); err != nil {
		t.Errorf("the same types in another order, and another start: %v", err)
	}
	for option, change := range map[string]func(*backend.ConsumeOptions){
		"Stream":        func(o *backend.ConsumeOptions) { o.Stream = "s" },
		"Under":         func(o *backend.ConsumeOptions) { o.Under = "" },
		"EventTypes":    func(o *backend.ConsumeOptions) { o.EventTypes = []string{"A B"} },
		"OnPark":        func(o *backend.ConsumeOptions) { o.OnPark = backend.SkipCommit },
		"Partitions":    func(o *backend.ConsumeOptions) { o.Partitions = 5 },
		"TakeoverAfter": func(o *backend.ConsumeOptions) { o.TakeoverAfter = time.Minute },
	} {
		other := base
		change(&other)
		err := conflict("x", sharedOf(base), sharedOf(other))
		if c, ok := errors.AsType[*backend.SubscriptionConflictError](err); !ok || c.Option != option {
			t.Errorf("another %s: error %v", option, err)
		}
	}
}

func FuzzDocument(f *testing.F) {
	d := newDocument(sharedOf(backend.ConsumeOptions{Partitions: 2, TakeoverAfter: time.Second}), 7)
	d.add("a", "", time.Time{})
	d.claim("a")
	value, err := d.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add([]byte(`{"format":1,"options":{"partitions":1},"partitions":[{"owner":"gone","position":18446744073709551615}]}`))
	f.Add([]byte(`{"format":1,"options":{"partitions":-1},"partitions":[]}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		d, err := decodeDocument("x", value)
		if err != nil {
			if !errors.Is(err, backend.ErrCorrupted) {
				t.Fatalf("error %v", err)
			}
			return
		}
		d.position()
		d.add("new", "", time.Time{})
		d.claim("new")
		d.surplus("new")
		d.remove("new")
		d.resetTo(3)
		if d.position() != 3 {
			t.Fatalf("after a reset to 3 it is at %d", d.position())
		}
		again, err := d.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeDocument("x", again); err != nil {
			t.Fatal(err)
		}
	})
}

// What a member sees may have been written while it waited for it: that is when the
// other's silence begins, at the earliest.
func TestSilenceBeginsWhenTheDocumentWasLoaded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := sharedOf(backend.ConsumeOptions{Partitions: 2, TakeoverAfter: 8 * time.Second})
		g := &group{now: time.Unix(0, 0), options: options, members: map[string]*simulated{}}
		g.store(t, newDocument(options, 0))
		g.join(t)
		g.join(t)
		a, b := "member-1", "member-2"
		for range 2 {
			g.step(t, a)
			g.step(t, b)
		}
		loading := rapid.IntRange(0, 4).Draw(t, "loading")
		g.members[a].began = g.now
		g.now = g.now.Add(time.Duration(loading) * time.Second)
		g.step(t, b)
		g.step(t, a)
		for range 8 { // b is silent from now on, and a isn't
			g.now = g.now.Add(time.Second)
			g.step(t, a)
			g.wantOneOwner(t)
		}
	})
}
