package faulttest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// LoadConfig says what a load does. The zero value works.
type LoadConfig struct {
	// Store is how the backends are opened. RequestTimeout 0 is 300 ms here, and
	// Replicas 0 the number of servers.
	Store jetstream.Config

	// Parties is how many processes there are to be, as far as promises go:
	// connections with a backend each. 0: 3. Every second one reads from leaders,
	// and every third one writes atomic batches and forgets heads.
	Parties int

	// Pace is how long each worker rests between its calls. 0: 4 ms.
	Pace time.Duration

	// Strict says that no leader can be cut off or replaced, so that what it says is
	// the newest.
	Strict bool

	// Seed makes the random choices. 0: a random one.
	Seed uint64
}

// Load is work of many kinds on a store, on event streams of its own, and a
// [Ledger] of it.
type Load struct {
	Ledger *Ledger

	// Clients are the connections that the work is done by, one for each party.
	Clients []*Client

	tb       testing.TB
	c        *Cluster
	cfg      LoadConfig
	name     string // begins all names of event streams
	after    uint64 // the store's last position when it began
	parties  []*party
	stop     context.CancelFunc
	working  sync.WaitGroup
	unfollow context.CancelFunc
	followed sync.WaitGroup
	bank     bank
	window   window    // of the shared set
	members  *follower // of the named subscription
	strict   bool      // reads of leaders are linearizable
}

// StartLoad opens backends and starts to work with them, until [Load.Finish].
func (c *Cluster) StartLoad(tb testing.TB, cfg LoadConfig) *Load {
	tb.Helper()
	l := c.newLoad(tb, cfg)
	l.work()
	l.waitFollowing()
	return l
}

// newLoad is a load that does nothing yet.
func (c *Cluster) newLoad(tb testing.TB, cfg LoadConfig) *Load {
	tb.Helper()
	if cfg.Store.RequestTimeout == 0 {
		cfg.Store.RequestTimeout = 300 * time.Millisecond
	}
	if cfg.Store.Replicas == 0 {
		cfg.Store.Replicas = len(c.Nodes)
	}
	if cfg.Parties == 0 {
		cfg.Parties = 3
	}
	if cfg.Pace == 0 {
		cfg.Pace = 4 * time.Millisecond
	}
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64() >> 1
		tb.Logf("the load's seed: %d", cfg.Seed)
	}
	l := &Load{tb: tb, c: c, cfg: cfg, Ledger: NewLedger(), strict: cfg.Strict, name: "load-" + uuid.NewString()[:8]}
	for i := range cfg.Parties {
		client := c.NewClient(tb)
		store := cfg.Store
		if i%2 == 1 {
			store.ReadConsistency = jetstream.ReadLeader
		}
		if i%3 == 2 {
			store.EventsPerMessage, store.HeadCacheSize = 1, 2
		}
		p := &party{number: i, client: client, leads: i%2 == 1, ledger: l.Ledger, floor: make(map[string]uint64)}
		p.b = c.open(tb, client.Conn, store)
		l.Ledger.lives[l.life(i)] = &lived{first: 1, hidden: backend.ErrStreamNotFound, begun: make(map[uuid.UUID]uint64)}
		l.Clients, l.parties = append(l.Clients, client), append(l.parties, p)
	}
	l.after = lastPosition(tb, l.parties[0].b)
	return l
}

// open opens a backend, with the time that a cluster may need for it.
func (c *Cluster) open(tb testing.TB, conn *nats.Conn, cfg jetstream.Config) *jetstream.Backend {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := jetstream.Open(ctx, conn, cfg)
	must(tb, err)
	tb.Cleanup(func() { b.Close() })
	return b
}

// lastPosition is that of the store's last event.
func lastPosition(tb testing.TB, b *jetstream.Backend) uint64 {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for batch, err := range b.Subscribe(ctx, backend.SubscribeOptions{From: backend.FromNow()}) {
		must(tb, err)
		return batch.Position
	}
	tb.Fatal("a subscription ended")
	return 0
}

// Names of event streams: shared ones are written by all parties.
func (l *Load) register(i int) string { return fmt.Sprintf("%s.register-%d", l.name, i) }
func (l *Load) counter(i int) string  { return fmt.Sprintf("%s.counter-%d", l.name, i) }
func (l *Load) account(i int) string  { return fmt.Sprintf("%s.account-%d", l.name, i) }
func (l *Load) set(party int) string  { return fmt.Sprintf("%s.set-%d", l.name, party) }
func (l *Load) sharedSet() string     { return l.name + ".set" }
func (l *Load) life(party int) string { return fmt.Sprintf("%s.life-%d", l.name, party) }
func (l *Load) watched(i int) string {
	return []string{l.register(i % registers), l.counter(i % counters)}[i%2]
}
func (l *Load) subscriptionName() string { return l.name }
func (l *Load) random(i int) *rand.Rand  { return rand.New(rand.NewPCG(l.cfg.Seed, uint64(i))) }
func deadline(r *rand.Rand) time.Duration {
	return 300*time.Millisecond + time.Duration(r.Int64N(int64(4*time.Second)))
}

const (
	registers = 3
	counters  = 2
	accounts  = 3
)

// work starts everything.
func (l *Load) work() {
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	following, unfollow := context.WithCancel(context.Background())
	l.unfollow = unfollow
	l.tb.Cleanup(func() {
		stop()
		unfollow()
		l.working.Wait()
		l.followed.Wait()
	})
	for i, p := range l.parties {
		for n, work := range []func(context.Context, *party, *rand.Rand) error{
			l.workRegister, l.workRegister, l.workCounter, l.workCounter, l.workSet, l.workBank, l.workLife, l.workRead,
		} {
			random := l.random(100*i + n)
			l.working.Go(func() {
				for ctx.Err() == nil {
					if err := work(ctx, p, random); err != nil {
						l.Ledger.violate("%v", err)
						return
					}
					select {
					case <-ctx.Done():
					case <-time.After(l.cfg.Pace):
					}
				}
			})
		}
		l.follow(following, p)
	}
}

// Wait waits until so many more appends were acknowledged.
func (l *Load) Wait(n int64) {
	l.tb.Helper()
	from := l.Ledger.Acknowledged()
	must(l.tb, eventually(fmt.Sprintf("%d appends are acknowledged", n), func() error {
		if now := l.Ledger.Acknowledged(); now < from+n {
			return fmt.Errorf("%d are", now-from)
		}
		return nil
	}))
}

// WaitEach waits until each party works: appends of it were acknowledged, and each
// way of reading succeeded.
func (l *Load) WaitEach() {
	l.tb.Helper()
	for _, p := range l.parties {
		from := p.acked.Load()
		must(l.tb, eventually(fmt.Sprintf("appends of process %d are acknowledged", p.number), func() error {
			if p.acked.Load() < from+3 {
				return errors.New("they are not")
			}
			return nil
		}))
		for what, read := range l.ways(p) {
			must(l.tb, eventually(fmt.Sprintf("%s by process %d succeeds", what, p.number), read))
		}
	}
}

// ways are those in which a party reads.
func (l *Load) ways(p *party) map[string]func() error {
	const within = 10 * time.Second
	ctx, stream := context.Background(), l.register(0)
	return map[string]func() error{
		"ReadStreamInfo":     func() error { _, err := p.look(ctx, within, stream); return err },
		"StreamForward":      func() error { return p.read(ctx, within, stream, true) },
		"ReadStreamBackward": func() error { return p.read(ctx, within, stream, false) },
		"ReadAll":            func() error { return p.readAll(ctx, within, l.name, l.after, l.known(p)) },
	}
}

// known are the versions that a party has seen where the leader's word is the
// newest: elsewhere ReadAll, which asks it for the end, promises nothing.
func (l *Load) known(p *party) map[string]uint64 {
	if !l.strict {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.floor)
}

// Finish ends the load and checks what is stored, once all servers run and all
// connections are healed, which is the caller's to do: see [Cluster.Recover].
// Violations fail the test.
func (l *Load) Finish() Result {
	l.tb.Helper()
	res := l.finish()
	for _, v := range res.Violations {
		l.tb.Error(v)
	}
	return res
}

// finish is Finish, but leaves violations to the caller.
func (l *Load) finish() Result {
	l.tb.Helper()
	l.stop()
	l.working.Wait()
	return l.check()
}

// Recover heals all connections, has all servers run, and waits until they have
// recovered the JetStream stream.
func (c *Cluster) Recover() {
	c.tb.Helper()
	c.Heal()
	for _, n := range c.Nodes {
		must(c.tb, n.Resume())
		if !n.Running() {
			must(c.tb, n.Kill()) // one that ended by itself
			must(c.tb, n.Start())
		}
	}
	c.WaitReady(jetstream.DefaultStream)
}
