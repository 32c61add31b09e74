package backend_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/backend/memory"
)

// docs/subscriptions.md shows pieces of these examples, word for word:
// guide_test.go checks that.

// add appends an event for each type.
func add(store backend.Backend, streamUUID string, eventTypes ...string) backend.AppendResult {
	var events []backend.UnsavedEvent
	for _, eventType := range eventTypes {
		events = append(events, backend.UnsavedEvent{EventType: eventType})
	}
	res, err := backend.Append(context.Background(), store, streamUUID, backend.AnyVersion(), events, uuid.Nil)
	if err != nil {
		log.Fatal(err)
	}
	return res
}

// What is stored comes first, then what is appended, in one sequence.
func ExampleSubscribe() {
	store := memory.New() // or jetstream.Open
	add(store, "accounts.ann", "Opened", "Deposited")
	add(store, "orders.17", "Placed")

	live := 0
	caughtUp := func() (enough bool) {
		if live++; live == 1 {
			fmt.Println("caught up")
			add(store, "accounts.bob", "Opened")
		}
		return live > 1
	}

	ctx := context.Background() // the subscription ends with it
	options := backend.SubscribeOptions{Under: "accounts"}
	for batch, err := range backend.Subscribe(ctx, store, options) {
		if err != nil {
			log.Fatal(err)
		}
		for _, e := range batch.Events {
			fmt.Println(e.StreamUUID, e.StreamVersion, e.EventType)
		}
		if batch.CaughtUp && caughtUp() {
			break // which ends it, too
		}
	}
	// Output:
	// accounts.ann 1 Opened
	// accounts.ann 2 Deposited
	// caught up
	// accounts.bob 1 Opened
}

// Where the read model is in a database, the position is kept in the same
// transaction: then each event has its effect exactly once.
func ExampleSubscribe_exactlyOnce() {
	// apply has the effects of a batch, and notes its position, or neither.
	apply := func(ctx context.Context, db *sql.DB, before uint64, batch backend.Batch) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() // does nothing after a commit
		for _, e := range batch.Events {
			if _, err := tx.ExecContext(ctx, `UPDATE accounts SET events = events + 1 WHERE name = ?`, e.StreamUUID); err != nil {
				return err
			}
		}
		res, err := tx.ExecContext(ctx, `UPDATE progress SET position = ? WHERE position = ?`, batch.Position, before)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n != 1 {
			return errors.New("another process is at it, too")
		}
		return tx.Commit()
	}

	follow := func(ctx context.Context, db *sql.DB, store backend.Backend) error {
		var position uint64
		if err := db.QueryRowContext(ctx, `SELECT position FROM progress`).Scan(&position); err != nil {
			return err
		}
		options := backend.SubscribeOptions{Under: "accounts", From: backend.AfterPosition(position)}
		for batch, err := range backend.Subscribe(ctx, store, options) {
			if err != nil {
				return err
			}
			if batch.Position == position {
				continue // it only tells that it has caught up
			}
			if err := apply(ctx, db, position, batch); err != nil {
				return err
			}
			position = batch.Position
		}
		return nil
	}
	_ = follow
}

// Who has no database keeps the position in the store.
func ExampleOpenCheckpoint() {
	store := memory.New()
	add(store, "orders.1", "Placed")
	add(store, "orders.2", "Placed")

	// report handles what there is, and returns when it has caught up.
	report := func(ctx context.Context) error {
		checkpoint, err := backend.OpenCheckpoint(ctx, store, "mailer")
		if err != nil {
			return err
		}
		position, err := checkpoint.Load(ctx)
		if err != nil {
			return err
		}
		options := backend.SubscribeOptions{Under: "orders", From: backend.AfterPosition(position)}
		for batch, err := range backend.Subscribe(ctx, store, options) {
			if err != nil {
				return err
			}
			for _, e := range batch.Events {
				fmt.Println("a mail about", e.StreamUUID) // again, if it ends before Save
			}
			if err := checkpoint.Save(ctx, batch.Position); err != nil {
				return err // ErrCheckpointMoved: another process is at it, too
			}
			if batch.CaughtUp {
				break
			}
		}
		return nil
	}
	fmt.Println(report(context.Background()))
	add(store, "orders.3", "Placed")
	fmt.Println(report(context.Background()))
	// Output:
	// a mail about orders.1
	// a mail about orders.2
	// <nil>
	// a mail about orders.3
	// <nil>
}

// balances is a read model: how many events each account has, and the position of
// the last that was counted.
type balances struct {
	mu     sync.Mutex
	events map[string]int
	last   map[string]uint64
}

func newBalances() *balances {
	return &balances{events: map[string]int{}, last: map[string]uint64{}}
}

func (b *balances) of(account string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.events[account]
}

func (b *balances) handle(ctx context.Context, c backend.Commit) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.Position <= b.last[c.StreamUUID] {
		return nil // it was counted, and comes again
	}
	b.events[c.StreamUUID] += len(c.Events)
	b.last[c.StreamUUID] = c.Position
	return nil
}

// Members of the same name, in any number of processes, share the work.
func ExampleConsume() {
	store := memory.New()
	model := newBalances()
	ctx, cancel := context.WithCancel(context.Background())
	options := backend.ConsumeOptions{
		Under:       "accounts",
		Concurrency: 4, // commits at a time, of different event streams always
	}
	var members sync.WaitGroup
	for range 2 { // elsewhere, each in a process of its own
		members.Go(func() {
			err := backend.Consume(ctx, store, "balances", options, model.handle)
			if !errors.Is(err, context.Canceled) {
				log.Print(err)
			}
		})
	}

	add(store, "accounts.ann", "Opened", "Deposited")
	last := add(store, "accounts.bob", "Opened")
	if err := backend.WaitFor(ctx, store, "balances", last.Position); err != nil {
		log.Fatal(err)
	}
	fmt.Println(model.of("accounts.ann"), model.of("accounts.bob"))
	cancel()
	members.Wait()
	// Output:
	// 2 1
}

// consume is a member until stop is called. It returns when the subscription
// exists.
func consume(store backend.Backend, name string, options backend.ConsumeOptions, handler backend.Handler) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var member sync.WaitGroup
	member.Go(func() {
		if err := backend.Consume(ctx, store, name, options, handler); !errors.Is(err, context.Canceled) {
			log.Print(err)
		}
	})
	if err := backend.WaitFor(ctx, store, name, 0); err != nil {
		log.Fatal(err)
	}
	return func() {
		cancel()
		member.Wait()
	}
}

// A command is answered when the read model shows what it did.
func ExampleWaitFor() {
	store := memory.New()
	model := newBalances()
	stop := consume(store, "balances", backend.ConsumeOptions{Under: "accounts"}, model.handle)
	defer stop()
	ctx := context.Background()

	events := []backend.UnsavedEvent{{EventType: "Opened"}}
	res, err := backend.Append(ctx, store, "accounts.ann", backend.NoStream(), events, uuid.Nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := backend.WaitFor(ctx, store, "balances", res.Position); err != nil {
		log.Fatal(err)
	}
	fmt.Println(model.of("accounts.ann"))
	// Output:
	// 1
}

// A commit that can't be handled is put aside, with those behind it in its event
// stream, and handled when its reason is gone.
func ExampleReplayParked() {
	store := memory.New()
	var fixed sync.Map
	handler := func(ctx context.Context, c backend.Commit) error {
		if _, ok := fixed.Load(c.StreamUUID); !ok && c.StreamUUID == "accounts.bob" {
			return errors.New("no such customer")
		}
		fmt.Println("handled", c.StreamUUID, c.Events[0].EventType)
		return nil
	}
	options := backend.ConsumeOptions{MaxAttempts: 3, RetryDelay: time.Millisecond}
	stop := consume(store, "mirror", options, handler)
	defer stop()
	add(store, "accounts.bob", "Opened")
	add(store, "accounts.bob", "Deposited")
	last := add(store, "accounts.ann", "Opened")
	ctx := context.Background()
	if err := backend.WaitFor(ctx, store, "mirror", last.Position); err != nil {
		log.Fatal(err)
	}

	parked, err := backend.Parked(ctx, store, "mirror")
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range parked {
		fmt.Println(p.StreamUUID, p.FirstVersion, p.Attempts, p.Error)
	}
	fixed.Store("accounts.bob", true)
	if err := backend.ReplayParked(ctx, store, "mirror", parked[0].Position); err != nil {
		log.Fatal(err)
	}
	for len(parked) > 0 { // a member does it as soon as it comes to it
		if parked, err = backend.Parked(ctx, store, "mirror"); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// handled accounts.ann Opened
	// accounts.bob 1 3 no such customer
	// accounts.bob 2 0 an earlier commit of the event stream is parked
	// handled accounts.bob Opened
	// handled accounts.bob Deposited
}

// What has no place in the read model is let go.
func ExampleDiscardParked() {
	store := memory.New()
	handler := func(ctx context.Context, c backend.Commit) error { panic("index out of range") }
	stop := consume(store, "mirror", backend.ConsumeOptions{OnPark: backend.SkipCommit}, handler)
	defer stop()
	last := add(store, "accounts.bob", "Opened")
	ctx := context.Background()
	if err := backend.WaitFor(ctx, store, "mirror", last.Position); err != nil {
		log.Fatal(err)
	}

	parked, err := backend.Parked(ctx, store, "mirror")
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range parked {
		fmt.Println(p.Error, p.Stack != "")
		if err := backend.DiscardParked(ctx, store, "mirror", p.Position); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// panic: index out of range true
}

// What an operator looks at.
func ExampleSubscriptions() {
	store := memory.New()
	stop := consume(store, "balances", backend.ConsumeOptions{Under: "accounts"}, newBalances().handle)
	last := add(store, "accounts.ann", "Opened")
	ctx := context.Background()
	if err := backend.WaitFor(ctx, store, "balances", last.Position); err != nil {
		log.Fatal(err)
	}
	stop()
	add(store, "accounts.ann", "Deposited")
	add(store, "orders.17", "Placed") // is not covered

	infos, err := backend.Subscriptions(ctx, store)
	if err != nil {
		log.Fatal(err)
	}
	for _, info := range infos {
		fmt.Printf("%s: %d behind, %d parked, %d members\n", info.Name, info.Behind, info.Parked, len(info.Members))
	}
	// Output:
	// balances: 1 behind, 0 parked, 0 members
}

// A read model that has to be made anew.
func ExampleResetSubscription() {
	store := memory.New()
	model := newBalances()
	options := backend.ConsumeOptions{Under: "accounts"}
	stop := consume(store, "balances", options, func(ctx context.Context, c backend.Commit) error { return model.handle(ctx, c) })
	last := add(store, "accounts.ann", "Opened")
	ctx := context.Background()
	if err := backend.WaitFor(ctx, store, "balances", last.Position); err != nil {
		log.Fatal(err)
	}

	stop() // or the members go on while the read model is emptied
	model = newBalances()
	if err := backend.ResetSubscription(ctx, store, "balances", 0); err != nil {
		log.Fatal(err)
	}
	defer consume(store, "balances", options, model.handle)()
	if err := backend.WaitFor(ctx, store, "balances", last.Position); err != nil {
		log.Fatal(err)
	}
	fmt.Println(model.of("accounts.ann"))
	// Output:
	// 1
}
