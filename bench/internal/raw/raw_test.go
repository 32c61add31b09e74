package raw

import (
	"fmt"
	"maps"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/internal/testserver"
)

func newTestClient(t *testing.T) *Client {
	t.Helper()
	nc := testserver.Single(t).Connect(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowDirect: true, AllowAtomicPublish: true})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(t.Context(), nc, "S")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testMessage(subject string) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: nats.Header{"Trib-A": {"1"}}, Data: []byte("x")}
}

func TestPublishingIsFenced(t *testing.T) {
	c := newTestClient(t)
	msg := testMessage("s.a")
	first, err := c.Publish(t.Context(), msg, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Publish(t.Context(), msg, 0); !WrongFence(err) {
		t.Errorf("a wrong fence: %v", err)
	}
	second, err := c.Publish(t.Context(), msg, first)
	if err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.Last(t.Context(), "s.a"); err != nil || got != second {
		t.Errorf("the last is at %d, %v; want %d", got, err, second)
	}
	if _, _, err := c.Last(t.Context(), "s.none"); err == nil {
		t.Error("there is a last message of a subject without any")
	}
}

func TestABatchIsStoredAsAWhole(t *testing.T) {
	c := newTestClient(t)
	batch := []*nats.Msg{testMessage("s.a"), testMessage("s.a"), testMessage("s.a")}
	last, err := c.PublishBatch(t.Context(), batch, 0)
	if err != nil || last != 3 {
		t.Fatalf("%d, %v", last, err)
	}
	if _, err := c.PublishBatch(t.Context(), batch, 0); !WrongFence(err) {
		t.Errorf("a wrong fence: %v", err)
	}
	if last, err = c.PublishBatch(t.Context(), batch, last); err != nil || last != 6 {
		t.Errorf("%d, %v", last, err)
	}
}

func TestReading(t *testing.T) {
	c := newTestClient(t)
	const n = 30
	var sequences []uint64
	for i := range n {
		sequence, err := c.Publish(t.Context(), testMessage("s.a"), uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		sequences = append(sequences, sequence)
	}
	got, err := c.Get(t.Context(), sequences[:9])
	if err != nil || len(got) != 9 {
		t.Errorf("gets: %d messages, %v", len(got), err)
	}
	if _, err := c.Get(t.Context(), []uint64{1, 1000}); err == nil {
		t.Error("a message that isn't there was found")
	}
	if err := c.Consume(t.Context(), "s.a", n, 10); err != nil {
		t.Errorf("consume: %v", err)
	}
	before := c.Requests()
	if err := c.Load(t.Context(), "s.a", 11, 20); err != nil {
		t.Errorf("load: %v", err)
	}
	// One to make the consumer, one to pull, one to delete it.
	if got := c.Requests() - before; got != 3 {
		t.Errorf("a load sent %d messages, want 3", got)
	}
	pull, err := c.BestPull(t.Context(), "s.a", n)
	if err != nil || pull == 0 {
		t.Errorf("best pull size: %d, %v", pull, err)
	}
	messages, err := c.Stored(t.Context(), "s.>")
	if err != nil {
		t.Fatal(err)
	}
	if len(messages) != n {
		t.Fatalf("%d messages are stored, want %d", len(messages), n)
	}
	if got := messages[n-1]; got.Subject != "s.a" || string(got.Data) != "x" || len(got.Header) != 1 {
		t.Errorf("stored: %v", got)
	}
	info, err := c.stream.Info(t.Context())
	if err != nil || info.State.Consumers != 1 { // that of Stored, which ends by itself
		t.Errorf("%d consumers left, %v", info.State.Consumers, err)
	}
}

func TestAnImportIsFenced(t *testing.T) {
	c := newTestClient(t)
	var messages []*nats.Msg
	for i := range 100 {
		messages = append(messages, testMessage(fmt.Sprintf("s.%d", i%7)))
	}
	if err := Import(t.Context(), c.nc, messages, 16); err != nil {
		t.Fatal(err)
	}
	stored, err := c.Stored(t.Context(), "s.>")
	if err != nil {
		t.Fatal(err)
	}
	if len(stored) != len(messages) {
		t.Fatalf("%d messages are stored, want %d", len(stored), len(messages))
	}
	for i, msg := range stored {
		if msg.Subject != messages[i].Subject {
			t.Fatalf("message %d is of %s, want %s", i, msg.Subject, messages[i].Subject)
		}
	}
	again := make([]*nats.Msg, len(messages))
	for i, msg := range messages {
		again[i] = &nats.Msg{Subject: msg.Subject, Header: maps.Clone(msg.Header), Data: msg.Data}
	}
	if err := Import(t.Context(), c.nc, again, 16); !WrongFence(err) {
		t.Errorf("importing again: %v", err)
	}
}
