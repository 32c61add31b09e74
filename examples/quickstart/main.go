// Quickstart keeps the account of someone who deposits and withdraws money, as
// events. Run it again, and it goes on from what is stored:
//
//	go run ./examples/quickstart
//
// The data is kept by a NATS server inside the program; with NATS_URL set, by
// the server that it names.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/examples/internal/localnats"
	"github.com/tributary-es/tributary/jetstream"
)

func main() {
	cache, _ := os.UserCacheDir() // without one, -dir is below the current directory
	dir := flag.String("dir", filepath.Join(cache, "tributary-quickstart"), "`directory` to keep the data in")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *dir); err != nil {
		log.Fatal(err)
	}
}

// amount is the data of the events Deposited and Withdrawn.
type amount struct {
	Euros int `json:"euros"`
}

func event(eventType string, euros int) backend.UnsavedEvent {
	data, _ := json.Marshal(amount{euros}) // an int can't fail
	return backend.UnsavedEvent{EventType: eventType, Data: data}
}

func run(ctx context.Context, w io.Writer, dir string) error {
	nc, stop, err := localnats.Connect(ctx, dir)
	if err != nil {
		return err
	}
	defer stop()
	b, err := jetstream.Open(ctx, nc, jetstream.Config{})
	if err != nil {
		return err
	}
	defer b.Close()
	fmt.Fprintf(w, "The data is kept in %s.\n", localnats.Where(dir))

	// Where does the account stand? The first time, there is none.
	const account = "account-42"
	info, err := b.ReadStreamInfo(ctx, account, uuid.Nil)
	if err != nil && !errors.Is(err, backend.ErrStreamNotFound) {
		return err
	}
	fmt.Fprintf(w, "%s is at version %d.\n", account, info.Version)

	// Two events, stored together or not at all, and only if nobody has written
	// to the account since we looked.
	result, err := backend.Append(ctx, b, account, backend.ExactVersion(info.Version),
		[]backend.UnsavedEvent{event("Deposited", 100), event("Withdrawn", 30)}, uuid.Nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "Deposited 100 and withdrew 30: now at version %d.\n", result.Version)

	// Someone who looked when we did decides from what he saw then, and is told
	// that it is no longer so. He looks again, and decides anew.
	withdrawal := []backend.UnsavedEvent{event("Withdrawn", 20)}
	_, err = backend.Append(ctx, b, account, backend.ExactVersion(info.Version), withdrawal, uuid.Nil)
	conflict, ok := errors.AsType[*backend.WrongExpectedVersionError](err)
	if !ok {
		return fmt.Errorf("a conflict was to be expected, not: %v", err)
	}
	fmt.Fprintf(w, "Withdrawing 20 at %s was refused, as the account is at version %d.\n", conflict.Expected, conflict.Actual)
	result, err = backend.Append(ctx, b, account, backend.ExactVersion(conflict.Actual), withdrawal, uuid.Nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "Withdrew 20 after looking again: now at version %d.\n", result.Version)

	// Read what this run has added: from a version on, so many events.
	events, err := b.ReadStream(ctx, account, info.Version+1, 100, uuid.Nil)
	if err != nil {
		return err
	}
	for _, e := range events {
		fmt.Fprintf(w, "  version %d, stored at position %d: %s %s\n", e.StreamVersion, e.Position, e.EventType, e.Data)
	}

	// The state is what all events add up to, however many there are.
	balance := 0
	for batch, err := range b.StreamForward(ctx, account, 100, uuid.Nil) {
		if err != nil {
			return err
		}
		for _, e := range batch {
			var a amount
			if err := json.Unmarshal(e.Data, &a); err != nil {
				return err
			}
			switch e.EventType {
			case "Deposited":
				balance += a.Euros
			case "Withdrawn":
				balance -= a.Euros
			}
		}
	}
	fmt.Fprintf(w, "The balance after %d events is %d euros.\n", result.Version, balance)
	return nil
}
