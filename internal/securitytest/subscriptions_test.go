package securitytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// The subjects of the bucket that a client asks for first, and makes it with.
const (
	bucketInfo   = "$JS.API.STREAM.INFO.KV_EVENTS_SUBSCRIPTIONS"
	bucketCreate = "$JS.API.STREAM.CREATE.KV_EVENTS_SUBSCRIPTIONS"
)

// kept are all the ways to use what the store keeps of those who follow it, on the
// store that fill makes.
var kept = []operation{
	{"checkpoint", bucketInfo, func(ctx context.Context, b *jetstream.Backend) error {
		c, err := backend.OpenCheckpoint(ctx, b, "mailer")
		if err != nil {
			return err
		}
		if err := c.Save(ctx, 7); err != nil {
			return err
		}
		position, err := c.Load(ctx)
		return wantNumber(int(position), 7, err)
	}},
	{"list subscriptions", bucketInfo, func(ctx context.Context, b *jetstream.Backend) error {
		_, err := backend.Subscriptions(ctx, b)
		return err
	}},
	{"consume", bucketInfo, func(ctx context.Context, b *jetstream.Backend) error {
		return consume(ctx, b, "counts", nil, func() error {
			if err := backend.WaitFor(ctx, b, "counts", 103); err != nil {
				return err
			}
			return backend.ResetSubscription(ctx, b, "counts", 0)
		})
	}},
	{"park", bucketInfo, func(ctx context.Context, b *jetstream.Backend) error {
		return consume(ctx, b, "fails", errors.New("of the handler"), func() error {
			parked, err := awaitParked(ctx, b, func(n int) bool { return n == 103 })
			if err != nil {
				return err
			}
			if err := backend.ReplayParked(ctx, b, "fails", parked[0].Position); err != nil {
				return err
			}
			last := slices.IndexFunc(parked, func(p backend.ParkedCommit) bool { return p.StreamUUID == "deleted" })
			if err := backend.DiscardParked(ctx, b, "fails", parked[last].Position); err != nil {
				return err
			}
			if _, err := awaitParked(ctx, b, func(n int) bool { return n == 102 }); err != nil {
				return err
			}
			return backend.DeleteSubscription(ctx, b, "fails")
		})
	}},
}

// consume is a member of a subscription while a function runs, whose handler
// returns fails.
func consume(ctx context.Context, b *jetstream.Backend, name string, fails error, while func() error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() {
		err := backend.Consume(ctx, b, name, backend.ConsumeOptions{MaxAttempts: 1},
			func(context.Context, backend.Commit) error { return fails })
		ended <- err
		cancel(err)
	}()
	// Until the subscription is there.
	for {
		infos, err := backend.Subscriptions(ctx, b)
		if err != nil {
			cancel(nil)
			return errors.Join(err, <-ended)
		}
		if slices.ContainsFunc(infos, func(i backend.SubscriptionInfo) bool { return i.Name == name }) {
			break
		}
	}
	err := while()
	cancel(nil)
	if consumed := <-ended; !errors.Is(consumed, context.Canceled) && !errors.Is(consumed, backend.ErrSubscriptionNotFound) {
		return errors.Join(err, consumed)
	}
	return err
}

// awaitParked waits until so many commits are parked.
func awaitParked(ctx context.Context, b *jetstream.Backend, enough func(n int) bool) ([]backend.ParkedCommit, error) {
	for {
		parked, err := backend.Parked(ctx, b, "fails")
		if err != nil {
			return nil, fmt.Errorf("%d are parked: %w", len(parked), err)
		}
		if enough(len(parked)) {
			return parked, nil
		}
	}
}

func TestOnlyAConsumerAndAnAdminHaveNamedSubscriptionsAndCheckpoints(t *testing.T) {
	for _, r := range roles {
		t.Run(string(r), func(t *testing.T) {
			s, adminConn := filled(t)
			if _, err := backend.Subscriptions(within(t), open(t, adminConn)); err != nil { // which makes the bucket
				t.Fatal(err)
			}
			nc := s.Connect(t, r.options()...)
			b := open(t, nc)
			for _, op := range kept {
				err := op.do(within(t), b)
				if r == reader || r == writer {
					wantRefused(t, op.name, err, op.subject)
				} else if err != nil {
					t.Errorf("%s: %v", op.name, err)
				}
			}
			if err := nc.Flush(); err != nil || (nc.LastError() != nil) != (r == reader || r == writer) {
				t.Errorf("%v, %v", err, nc.LastError())
			}
		})
	}
}

func TestOnlyAnAdminMakesTheBucketOfSubscriptions(t *testing.T) {
	s, adminConn := filled(t)
	b := open(t, s.Connect(t, consumer.options()...))
	for _, op := range kept[:2] {
		wantRefused(t, op.name, op.do(within(t), b), bucketCreate)
	}
	if _, err := backend.Subscriptions(within(t), open(t, adminConn)); err != nil {
		t.Fatal(err)
	}
	for _, op := range kept[:2] {
		if err := op.do(within(t), b); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}
}

func TestAServiceWithTheListsOfAWriterAndAConsumerDoesAllOfBoth(t *testing.T) {
	lists := [][]string{permissions(t, writer).Publish.Allow, permissions(t, consumer).Publish.Allow}
	s := testserver.Single(t, testserver.WithServerOptions(func(o *server.Options) {
		o.Users = []*server.User{user("all", ">"), user("both", slices.Concat(lists...)...)}
	}))
	all := open(t, s.Connect(t, nats.UserInfo("all", "all")))
	fill(t, all)
	if _, err := backend.Subscriptions(within(t), all); err != nil {
		t.Fatal(err)
	}
	b := open(t, s.Connect(t, nats.UserInfo("both", "both")))
	for _, op := range slices.Concat(reads, kept, writes) {
		if err := op.do(within(t), b); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}
}
