package jetstream_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// readmePermissions are the subjects that README.md says a client must be
// allowed to publish to.
func readmePermissions(t *testing.T) []string {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var subjects []string
	for line := range strings.Lines(string(readme)) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 || !strings.HasPrefix(cells[1], " publish ") {
			continue
		}
		for i, quoted := range strings.Split(cells[1], "`") {
			if i%2 == 1 {
				subjects = append(subjects, quoted)
			}
		}
	}
	if len(subjects) < 10 {
		t.Fatalf("README.md lists only %v", subjects)
	}
	return subjects
}

func connectAs(t *testing.T, publish []string) *nats.Conn {
	t.Helper()
	s := testserver.Single(t, testserver.WithServerOptions(func(o *server.Options) {
		o.Users = []*server.User{{Username: "service", Password: "secret", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: publish},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}}}
	}))
	return s.Connect(t, nats.UserInfo("service", "secret"))
}

func TestThePermissionsThatTheReadmeListsAreEnough(t *testing.T) {
	nc := connectAs(t, readmePermissions(t))
	var denied []error
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied = append(denied, err) })
	b, err := jetstream.Open(t.Context(), nc, jetstream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range useEverything(t.Context(), b) {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if len(denied) != 0 {
		t.Error(denied)
	}
}

// Where an operation can do without, slower, the connection's error handler is
// what is told.
func TestEveryPermissionThatTheReadmeListsIsNeededAndNamedWhereItIsMissing(t *testing.T) {
	all := readmePermissions(t)
	for i, missing := range all {
		t.Run(missing, func(t *testing.T) {
			t.Parallel()
			nc := connectAs(t, slices.Delete(slices.Clone(all), i, i+1))
			err := errors.Join(openAndUseEverything(t.Context(), nc)...)
			if err == nil {
				err = nc.LastError()
			}
			if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), strings.TrimSuffix(missing, ">")) {
				t.Errorf("%v, want a permission violation that names %s", err, missing)
			}
		})
	}
}

func openAndUseEverything(ctx context.Context, nc *nats.Conn) (errs []error) {
	cfg := jetstream.Config{Timeout: 5 * time.Second, RequestTimeout: 200 * time.Millisecond}
	b, err := jetstream.Open(ctx, nc, cfg)
	if err != nil {
		return []error{err}
	}
	for _, err := range useEverything(ctx, b) {
		errs = append(errs, err)
	}
	return errs
}

// useEverything calls every method, and returns the errors by name.
func useEverything(ctx context.Context, b *jetstream.Backend) map[string]error {
	const name = "orders.eu.1"
	errs := make(map[string]error)
	event := []backend.UnsavedEvent{{EventType: "Happened"}}
	_, errs["create"] = b.CreateStream(ctx, backend.Stream{UUID: name}, uuid.Nil)
	for range 200 {
		if _, errs["append"] = backend.Append(ctx, b, name, backend.StreamExists(), event, uuid.Nil); errs["append"] != nil {
			break
		}
	}
	_, errs["append to a missing one"] = b.AppendToStream(ctx, "missing", event, uuid.Nil)
	if errors.Is(errs["append to a missing one"], backend.ErrStreamNotFound) {
		errs["append to a missing one"] = nil
	}
	_, errs["info"] = b.ReadStreamInfo(ctx, name, uuid.Nil)
	_, errs["a short read"] = backend.ReadStreamBackward(ctx, b, name, 0, 10, uuid.Nil)
	_, errs["a long read"] = b.ReadStream(ctx, name, 1, 1000, uuid.Nil)
	for _, err := range b.StreamForward(ctx, name, 10, uuid.Nil) {
		errs["forward"] = err
	}
	for _, err := range backend.ReadAll(ctx, b, backend.ReadAllOptions{Under: "orders"}, uuid.Nil) {
		errs["all"] = err
	}
	for _, err := range b.Subscribe(ctx, backend.SubscribeOptions{Under: "orders"}) {
		errs["subscribe"] = err
		break
	}
	errs["consume"] = consumeOnce(ctx, b)
	_, errs["subscriptions"] = b.Subscriptions(ctx)
	if checkpoint, err := b.OpenCheckpoint(ctx, "mine"); err != nil {
		errs["checkpoint"] = err
	} else {
		errs["checkpoint"] = checkpoint.Save(ctx, 1)
	}
	errs["truncate"] = backend.Truncate(ctx, b, name, 150, uuid.Nil)
	errs["soft-delete"] = backend.SoftDelete(ctx, b, name, backend.StreamExists(), uuid.Nil)
	errs["restore"] = backend.Restore(ctx, b, name, uuid.Nil)
	errs["delete"] = b.DeleteStream(ctx, backend.Stream{UUID: name}, uuid.Nil)
	return errs
}

// consumeOnce handles a commit, parks it, and forgets the subscription.
func consumeOnce(ctx context.Context, b *jetstream.Backend) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	handled := errors.New("handled")
	err := make(chan error, 1)
	go func() {
		err <- b.Consume(ctx, "once", backend.ConsumeOptions{MaxAttempts: 1}, func(context.Context, backend.Commit) error { return handled })
	}()
	for {
		select {
		case err := <-err:
			return err
		default:
		}
		if parked, parkedErr := b.Parked(ctx, "once"); parkedErr == nil && len(parked) > 0 {
			if deleteErr := b.DeleteSubscription(ctx, "once"); deleteErr != nil {
				return deleteErr
			}
			if ended := <-err; !errors.Is(ended, backend.ErrSubscriptionNotFound) {
				return ended
			}
			return nil
		}
	}
}
