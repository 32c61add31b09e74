package faulttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// Fault is something that goes wrong.
type Fault struct {
	Name string

	// Cluster tells that it takes a cluster of three.
	Cluster bool

	// Strict tells that no leader is cut off or replaced by it, so that what leaders
	// say remains the newest.
	Strict bool

	// Inflict has it go wrong, for a while. It need not put anything right again:
	// [Cluster.Recover] follows.
	Inflict func(r *Round)
}

// Round is one time that a fault is inflicted.
type Round struct {
	testing.TB
	*rand.Rand
	Cluster *Cluster
	Load    *Load

	// Longest bounds how long a fault lasts by itself.
	Longest time.Duration
}

// between returns a random duration, within what the round allows.
func (r *Round) between(least, most time.Duration) time.Duration {
	most = max(least, min(most, r.Longest))
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}

// last lets the fault last.
func (r *Round) last(least, most time.Duration) { time.Sleep(r.between(least, most)) }

// Run starts a load, inflicts the fault, has everything recover, and checks.
func (f *Fault) Run(tb testing.TB, c *Cluster, seed uint64, longest time.Duration) Result {
	tb.Helper()
	c.Use(tb)
	load := c.StartLoad(tb, LoadConfig{Seed: seed, Strict: f.Strict || len(c.Nodes) == 1})
	r := &Round{TB: tb, Rand: rand.New(rand.NewPCG(seed, 0)), Cluster: c, Load: load, Longest: longest}
	load.Wait(int64(20 + r.IntN(100)))
	f.Inflict(r)
	c.Recover()
	load.Wait(50)
	load.WaitEach() // they heal by themselves
	return load.Finish()
}

// Faults are those of servers, of the network and of clients.
func Faults() []Fault {
	all := []Fault{
		{Name: "kill -9", Strict: false, Inflict: func(r *Round) { r.kill(r.any()) }},
		{Name: "kill -9 of each in turn", Cluster: true, Inflict: func(r *Round) {
			for i := range r.Cluster.Nodes {
				r.kill(i)
				r.Cluster.Recover()
				r.Load.Wait(20)
			}
		}},
		{Name: "kill -9 of the stream's leader", Cluster: true, Inflict: func(r *Round) { r.kill(r.leader()) }},
		{Name: "kill -9 of the meta leader", Cluster: true, Inflict: func(r *Round) { r.kill(r.Cluster.MetaLeader()) }},
		{Name: "kill -9 of two of three", Cluster: true, Inflict: func(r *Round) {
			left := r.any()
			r.kill((left+1)%3, (left+2)%3)
		}},
		{Name: "kill -9 of all", Cluster: true, Inflict: func(r *Round) { r.kill(0, 1, 2) }},
		{Name: "pause (SIGSTOP)", Inflict: func(r *Round) { r.pause(r.any()) }},
		{Name: "pause of the leader", Cluster: true, Inflict: func(r *Round) { r.pause(r.leader()) }},
		{Name: "clean restart", Inflict: func(r *Round) { r.restart(r.any()) }},
		{Name: "rolling restart", Cluster: true, Inflict: func(r *Round) {
			for i := range r.Cluster.Nodes {
				r.restart(i)
				r.Load.Wait(20)
			}
		}},
		{Name: "partition: the leader alone", Cluster: true, Inflict: func(r *Round) { r.partition(r.Cluster.Isolate) }},
		{Name: "partition: the leader with clients", Cluster: true, Inflict: func(r *Round) {
			r.partition(func(leader int) {
				for i, client := range r.Load.Clients {
					for n, link := range client.Links {
						if (i == 0) != (n == leader) {
							link.Refuse()
						}
					}
				}
				r.Cluster.Isolate(leader)
			})
		}},
		{Name: "partition: the leader isn't heard", Cluster: true, Inflict: func(r *Round) {
			flow := r.flow()
			r.partition(func(leader int) { r.oneWay(leader, flow, true) })
		}},
		{Name: "partition: the leader hears nothing", Cluster: true, Inflict: func(r *Round) {
			// Its peers hear that it leads, so that it takes the 10 to 20 s after which it
			// gives up for them to have another: too long for a short round.
			leader := r.leader()
			r.oneWay(leader, r.flow(), false)
			if r.Longest < 20*time.Second {
				r.last(time.Second, r.Longest)
				return
			}
			r.awaitAnother(leader)
			r.last(500*time.Millisecond, 8*time.Second)
		}},
		{Name: "step-down of the leader", Cluster: true, Inflict: (*Round).stepDown},
		{Name: "slow network", Strict: true, Inflict: func(r *Round) {
			delay := r.between(time.Millisecond, 50*time.Millisecond)
			for _, l := range r.Cluster.routes {
				l.Slow(delay)
			}
			r.eachClientLink(func(l *Link) { l.Slow(delay) })
			r.Load.Wait(50)
		}},
		{Name: "zombie writes", Strict: true, Inflict: (*Round).zombies},
		{Name: "client process killed", Strict: true, Inflict: (*Round).killClients},
	}
	for _, at := range []CutAt{BeforeSend, AfterSend, BeforeAnswer} {
		all = append(all, Fault{Name: "connection cut " + at.String(), Strict: true, Inflict: func(r *Round) { r.cut(at) }})
	}
	return append(all, Fault{Name: "several, at random", Inflict: (*Round).several})
}

func (r *Round) any() int    { return r.IntN(len(r.Cluster.Nodes)) }
func (r *Round) leader() int { return r.Cluster.Leader(jetstream.DefaultStream) }

func (r *Round) flow() Flow {
	if r.IntN(2) == 0 {
		return Drop
	}
	return Hold
}

func (r *Round) eachClientLink(do func(*Link)) {
	for _, client := range r.Load.Clients {
		client.EachLink(do)
	}
}

// kill kills servers at the same time, as far as that is possible, and leaves
// them dead for a while.
func (r *Round) kill(nodes ...int) {
	r.Helper()
	for _, i := range nodes {
		must(r, r.Cluster.Nodes[i].Kill())
	}
	r.last(0, 3*time.Second)
}

func (r *Round) pause(i int) {
	r.Helper()
	must(r, r.Cluster.Nodes[i].Pause())
	r.last(time.Second, 20*time.Second)
	must(r, r.Cluster.Nodes[i].Resume())
}

func (r *Round) restart(i int) {
	r.Helper()
	must(r, r.Cluster.Nodes[i].Stop())
	must(r, r.Cluster.Nodes[i].Start())
	r.Cluster.WaitReady(jetstream.DefaultStream)
}

// partition divides the leader from its peers until they have another one, or it
// has given up, and then some.
func (r *Round) partition(divide func(leader int)) {
	r.Helper()
	old := r.leader()
	divide(old)
	r.awaitAnother(old)
	r.last(500*time.Millisecond, 8*time.Second)
}

// awaitAnother waits until one of the peers of a leader that is cut off leads.
func (r *Round) awaitAnother(old int) {
	r.Helper()
	must(r, eventually("the peers of a leader that is cut off have another", func() error {
		for i, n := range r.Cluster.Nodes {
			if i == old {
				continue
			}
			if answer, err := n.jsz(); err == nil {
				if s := answer.stream(jetstream.DefaultStream); s != nil && s.Cluster != nil && s.Cluster.Leader == n.Name {
					return nil
				}
			}
		}
		return fmt.Errorf("none says so")
	}))
}

// oneWay disturbs what one server sends to its peers, or what they send to it.
func (r *Round) oneWay(server int, flow Flow, sends bool) {
	for i := range r.Cluster.Nodes {
		switch {
		case i == server:
		case sends:
			r.Cluster.Between(server, i, flow)
		default:
			r.Cluster.Between(i, server, flow)
		}
	}
}

// stepDown has the leader step down, and waits until there is another, or it leads
// anew.
func (r *Round) stepDown() {
	r.Helper()
	client := r.Cluster.NewClient(r)
	defer client.Close()
	for range 3 {
		var before string
		must(r, eventually("the leader steps down", func() (err error) {
			if before, err = r.Cluster.reign(jetstream.DefaultStream); err != nil {
				return err
			}
			msg, err := client.Conn.Request("$JS.API.STREAM.LEADER.STEPDOWN."+jetstream.DefaultStream, nil, 2*time.Second)
			if err != nil {
				return err
			}
			var answer struct {
				Success bool `json:"success"`
			}
			if err := json.Unmarshal(msg.Data, &answer); err != nil || !answer.Success {
				return fmt.Errorf("it answers %s, error %v", msg.Data, err)
			}
			return nil
		}))
		must(r, eventually("there is another leader, or it leads anew", func() error {
			now, err := r.Cluster.reign(jetstream.DefaultStream)
			if err == nil && now == before {
				err = fmt.Errorf("it is %s", now)
			}
			return err
		}))
		r.Load.Wait(20)
	}
}

// cut breaks the connection of every twentieth append or so, at the same point.
func (r *Round) cut(at CutAt) {
	r.Helper()
	const want = 20
	var n atomic.Int64
	every := int64(3 + r.IntN(20))
	before := r.cuts()
	r.eachClientLink(func(l *Link) {
		l.On(func(p *Published) Fate {
			if !strings.HasPrefix(p.Subject, jetstream.DefaultPrefix+".") || at == BeforeAnswer && p.Reply == "" || n.Add(1)%every != 0 {
				return Fate{}
			}
			return Fate{Cut: at}
		})
	})
	must(r, eventually("connections are cut", func() error {
		if made := r.cuts() - before; made < want {
			return fmt.Errorf("%d of %d", made, want)
		}
		return nil
	}))
}

// cuts is how many connections of the load's rules have cut.
func (r *Round) cuts() (n int) {
	r.eachClientLink(func(l *Link) { n += l.Cuts() })
	return n
}

// zombies has appends end while their client is cut off, in all ways in which
// they might yet be sent or stored later: each way once on a connection that then
// breaks, and once on one that goes on.
func (r *Round) zombies() {
	r.Helper()
	for i := range 8 {
		p := r.Load.parties[i%len(r.Load.parties)]
		switch i % 4 {
		case 0: // nothing gets out
			p.client.EachLink(func(l *Link) { l.SetUp(Hold) })
		case 1: // no answer gets back
			p.client.EachLink(func(l *Link) { l.SetDown(Hold) })
		case 2: // it knows that it is disconnected
			p.client.EachLink((*Link).Refuse)
		case 3: // what is sent is lost
			p.client.EachLink(func(l *Link) { l.SetUp(Drop) })
		}
		for n := range 10 {
			// An event stream of its own has nobody waiting in front, so that it is sent.
			stream, expected := r.Load.name+".zombie-"+uuid.NewString(), backend.NoStream()
			if n%3 == 0 {
				stream, expected = r.Load.counter(n%counters), backend.AnyVersion()
			}
			_, err := p.append(context.Background(), r.between(time.Millisecond, 50*time.Millisecond), stream, expected, Events(1+n%2))
			if err := wantRefusal(err); err != nil {
				r.Error(err)
			}
			if n%3 == 1 { // another process is faster than what is still under way
				other := r.Load.parties[(i+1)%len(r.Load.parties)]
				_, err := other.append(context.Background(), deadline(r.Rand), stream, expected, Events(1))
				if err := wantRefusal(err, backend.ErrStreamExists); err != nil {
					r.Error(err)
				}
			}
		}
		if i < 4 {
			p.client.EachLink((*Link).Cut) // whatever was held up is lost
		}
		p.client.EachLink((*Link).Heal)
		r.Load.Wait(10)
	}
	// That one of them is stored after its end is what all of this is about.
	must(r, eventually("an append is stored after its end", r.storeLate))
}

// storeLate has an append, to an event stream of its own, be held up until its
// context has ended, and then go on. It begins the event stream, which takes no
// question before.
func (r *Round) storeLate() error {
	p, stream := r.Load.parties[r.IntN(len(r.Load.parties))], r.Load.name+".zombie-"+uuid.NewString()
	p.client.EachLink(func(l *Link) { l.SetUp(Hold) })
	_, err := p.append(context.Background(), 20*time.Millisecond, stream, backend.NoStream(), Events(1))
	p.client.EachLink((*Link).Heal)
	if !errors.Is(err, backend.ErrOutcomeUnknown) {
		return fmt.Errorf("it was not sent: %w", err)
	}
	version, err := p.look(context.Background(), 5*time.Second, stream)
	if err == nil && version == 0 {
		err = errors.New("it is not there")
	}
	return err
}

// several inflicts others, one after the other, without a rest between.
func (r *Round) several() {
	r.Helper()
	var usable []Fault
	for _, f := range Faults() {
		if f.Name != "several, at random" && (!f.Cluster || len(r.Cluster.Nodes) == 3) {
			usable = append(usable, f)
		}
	}
	var names []string
	for range 3 {
		f := usable[r.IntN(len(usable))]
		names = append(names, f.Name)
		f.Inflict(r)
		if r.IntN(2) == 0 {
			r.Cluster.Recover()
		} else {
			// The next one meets servers that are not ready yet.
			r.Cluster.Heal()
			for _, n := range r.Cluster.Nodes {
				if !n.Running() {
					must(r, n.Start())
				}
			}
		}
	}
	r.Logf("faults: %s", strings.Join(names, "; "))
}
