package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log"
	"os"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// exampleServer starts a server for an example, and connects to it.
func exampleServer() (nc *nats.Conn, stop func()) {
	dir, err := os.MkdirTemp("", "tributary-example")
	if err != nil {
		log.Fatal(err)
	}
	s, err := testserver.Start(dir)
	if err != nil {
		log.Fatal(err)
	}
	if nc, err = nats.Connect(s.URL()); err != nil {
		log.Fatal(err)
	}
	return nc, func() {
		nc.Close()
		s.Shutdown()
		_ = os.RemoveAll(dir)
	}
}

func Example() {
	nc, stop := exampleServer() // yours: nats.Connect("nats://…")
	defer stop()
	ctx := context.Background()

	store, err := jetstream.Open(ctx, nc, jetstream.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	res, err := backend.Append(ctx, store, "account-42", backend.NoStream(), []backend.UnsavedEvent{
		{EventType: "Opened", Data: []byte(`{"owner":"Ann"}`)},
		{EventType: "Deposited", Data: []byte(`{"euros":100}`)},
	}, uuid.Nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("at version", res.Version)

	for batch, err := range store.StreamForward(ctx, "account-42", 500, uuid.Nil) {
		if err != nil {
			log.Fatal(err)
		}
		for _, e := range batch {
			fmt.Println(e.StreamVersion, e.EventType, string(e.Data))
		}
	}
	// Output:
	// at version 2
	// 1 Opened {"owner":"Ann"}
	// 2 Deposited {"euros":100}
}

// A command is handled by deciding on what there is, and again when another was
// faster. The id is made once, so that repeating the append, also after an
// unknown outcome or a restart, stores the event once.
func ExampleBackend_Append() {
	nc, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	store, err := jetstream.Open(ctx, nc, jetstream.Config{})
	if err != nil {
		log.Fatal(err)
	}

	event := backend.UnsavedEvent{EventUUID: uuid.Must(uuid.NewV7()), EventType: "SeatReserved"}
	reserve := func() (uint64, error) {
		for {
			seats, err := store.ReadStream(ctx, "flight-7", 1, 1000, uuid.Nil)
			if err != nil && !errors.Is(err, backend.ErrStreamNotFound) {
				return 0, err
			}
			if len(seats) == 3 {
				return 0, errors.New("no seat left")
			}
			res, err := backend.Append(ctx, store, "flight-7", backend.ExactVersion(uint64(len(seats))), []backend.UnsavedEvent{event}, uuid.Nil)
			if errors.Is(err, backend.ErrWrongExpectedVersion) {
				continue // someone was faster: look again
			}
			return res.Version, err
		}
	}
	fmt.Println(reserve())

	res, err := store.Append(ctx, "flight-7", backend.NoStream(), []backend.UnsavedEvent{event}, uuid.Nil)
	fmt.Println("repeated:", res.Version, err)
	// Output:
	// 1 <nil>
	// repeated: 1 <nil>
}

// The position of a batch's last event is where to go on, at any later time: a
// batch never ends within a commit.
func ExampleBackend_ReadAll() {
	nc, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	store, err := jetstream.Open(ctx, nc, jetstream.Config{})
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range []string{"orders.eu.1", "orders.us.2", "orders.eu.3", "invoices.1"} {
		_, err := backend.Append(ctx, store, name, backend.AnyVersion(), []backend.UnsavedEvent{{EventType: "Placed"}}, uuid.Nil)
		if err != nil {
			log.Fatal(err)
		}
	}

	checkpoint := uint64(0) // a projection keeps it beside what it makes of the events
	read := func(limit uint64) {
		options := backend.ReadAllOptions{After: checkpoint, Under: "orders", Limit: limit}
		for batch, err := range backend.ReadAll(ctx, store, options, uuid.Nil) {
			if err != nil {
				log.Fatal(err)
			}
			for _, e := range batch {
				fmt.Println(e.Position, e.StreamUUID)
			}
			checkpoint = batch[len(batch)-1].Position
		}
	}
	read(2)
	fmt.Println("later")
	read(0)
	// Output:
	// 1 orders.eu.1
	// 2 orders.us.2
	// later
	// 3 orders.eu.3
}

// A history from elsewhere is imported with many appends under way. Its ids are
// the same each time, so that what is stored already isn't stored again; the
// number of appends done is where to go on.
func ExampleBackend_Import() {
	nc, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	store, err := jetstream.Open(ctx, nc, jetstream.Config{})
	if err != nil {
		log.Fatal(err)
	}

	// legacy reads 1,000 bookings of 100 accounts, from the one numbered from on.
	legacy := func(from uint64) iter.Seq2[backend.StreamAppend, error] {
		return func(yield func(backend.StreamAppend, error) bool) {
			for i := from; i < 1000; i++ {
				booking := backend.UnsavedEvent{
					EventUUID: uuid.NewSHA1(uuid.NameSpaceURL, fmt.Append(nil, "https://example.org/bookings/", i)),
					EventType: "Booked",
				}
				a := backend.StreamAppend{
					StreamUUID: fmt.Sprint("account-", i%100),
					Expected:   backend.ExactVersion(i / 100),
					Events:     []backend.UnsavedEvent{booking},
				}
				if i == 700 && from == 0 {
					yield(backend.StreamAppend{}, errors.New("the old database is gone"))
					return
				}
				if !yield(a, nil) {
					return
				}
			}
		}
	}
	done, err := backend.Import(ctx, store, legacy(0), backend.ImportOptions{}, uuid.Nil)
	fmt.Println(done.Appends, err)

	rest, err := backend.Import(ctx, store, legacy(done.Appends), backend.ImportOptions{
		Progress: func(p backend.ImportProgress) { // once a second, and in the end
			fmt.Println("imported", done.Appends+p.Appends)
		},
	}, uuid.Nil)
	fmt.Println(rest.Appends, err)

	account, err := store.ReadStreamInfo(ctx, "account-42", uuid.Nil)
	fmt.Println("account-42 is at version", account.Version, err)
	// Output:
	// 700 the old database is gone
	// imported 1000
	// 300 <nil>
	// account-42 is at version 10 <nil>
}

// Members of a named subscription may be anywhere: what they share is the name,
// and the server.
func ExampleBackend_Consume() {
	nc, stop := exampleServer()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	store, err := jetstream.Open(ctx, nc, jetstream.Config{})
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range []string{"orders.17", "invoices.3", "orders.17"} {
		_, err := backend.Append(ctx, store, name, backend.AnyVersion(), []backend.UnsavedEvent{{EventType: "Placed"}}, uuid.Nil)
		if err != nil {
			log.Fatal(err)
		}
	}

	err = store.Consume(ctx, "mailer", backend.ConsumeOptions{Under: "orders"}, func(ctx context.Context, c backend.Commit) error {
		fmt.Println(c.StreamUUID, "at version", c.Events[0].StreamVersion)
		if c.Events[0].StreamVersion == 2 {
			cancel() // what is handled is told to the server before Consume returns
		}
		return nil
	})
	fmt.Println(err)
	infos, err := store.Subscriptions(context.Background())
	fmt.Println(infos[0].Name, "is", infos[0].Behind, "commits behind", err)
	// Output:
	// orders.17 at version 1
	// orders.17 at version 2
	// consuming "mailer": context canceled
	// mailer is 0 commits behind <nil>
}
