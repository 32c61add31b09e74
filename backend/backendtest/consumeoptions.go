package backendtest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func consumeArgumentClauses(t *testing.T, b backend.Backend) {
	ctx := context.WithoutCancel(t.Context()) // for clauses that are parallel
	unknown := "clause-" + uuid.NewString()
	nothing := func(context.Context, backend.Commit) error { return nil }
	byName := map[string]func(name string) error{
		"Consume": func(name string) error { return backend.Consume(ctx, b, name, backend.ConsumeOptions{}, nothing) },
		"WaitFor": func(name string) error { return backend.WaitFor(ctx, b, name, 1) },
	}
	if _, ok := b.(backend.SubscriptionManager); ok {
		byName["ResetSubscription"] = func(name string) error { return backend.ResetSubscription(ctx, b, name, 0) }
		byName["DeleteSubscription"] = func(name string) error { return backend.DeleteSubscription(ctx, b, name) }
	}
	if _, ok := b.(backend.Parker); ok {
		byName["Parked"] = func(name string) error { _, err := backend.Parked(ctx, b, name); return err }
		byName["ReplayParked"] = func(name string) error { return backend.ReplayParked(ctx, b, name, 1) }
		byName["DiscardParked"] = func(name string) error { return backend.DiscardParked(ctx, b, name, 1) }
	}
	for method, call := range byName {
		for what, name := range illegalSubscriptionNames() {
			t.Run(what+" as the name of a subscription is ErrInvalidArgument in "+method, func(t *testing.T) {
				err := call(name)
				wantErr(t, err, backend.ErrInvalidArgument)
				if len(err.Error()) > 1000 {
					t.Errorf("the error's text has %d bytes", len(err.Error()))
				}
			})
		}
		if method != "Consume" {
			t.Run("a subscription that does not exist is ErrSubscriptionNotFound in "+method, func(t *testing.T) {
				t.Parallel() // in WaitFor it takes a while
				wantErr(t, call(unknown), backend.ErrSubscriptionNotFound)
			})
		}
	}

	for what, row := range map[string]struct {
		change func(*backend.ConsumeOptions)
		err    error
		names  string
	}{
		"an event stream and a prefix": {func(o *backend.ConsumeOptions) { o.Stream = "account-42" }, backend.ErrInvalidArgument, "account-42"},
		"an illegal prefix":            {func(o *backend.ConsumeOptions) { o.Under = "with space" }, backend.ErrInvalidStreamUUID, "space"},
		"a reserved event stream":      {func(o *backend.ConsumeOptions) { o.Under, o.Stream = "", "$parked" }, backend.ErrInvalidStreamUUID, "reserved"},
		"an empty event type":          {func(o *backend.ConsumeOptions) { o.EventTypes = []string{""} }, backend.ErrInvalidArgument, "event type 0"},
		"a start from a version":       {func(o *backend.ConsumeOptions) { o.From = backend.FromVersion(3) }, backend.ErrInvalidArgument, "version 3"},
		"a negative concurrency":       {func(o *backend.ConsumeOptions) { o.Concurrency = -1 }, backend.ErrInvalidArgument, "Concurrency"},
		"a concurrency too high":       {func(o *backend.ConsumeOptions) { o.Concurrency = 1025 }, backend.ErrInvalidArgument, "Concurrency"},
		"negative attempts":            {func(o *backend.ConsumeOptions) { o.MaxAttempts = -1 }, backend.ErrInvalidArgument, "MaxAttempts"},
		"a negative delay":             {func(o *backend.ConsumeOptions) { o.RetryDelay = -1 }, backend.ErrInvalidArgument, "RetryDelay"},
		"a negative greatest delay":    {func(o *backend.ConsumeOptions) { o.MaxRetryDelay = -1 }, backend.ErrInvalidArgument, "MaxRetryDelay"},
		"an unknown policy":            {func(o *backend.ConsumeOptions) { o.OnPark = 7 }, backend.ErrInvalidArgument, "OnPark"},
		"negative partitions":          {func(o *backend.ConsumeOptions) { o.Partitions = -1 }, backend.ErrInvalidArgument, "Partitions"},
		"too many partitions":          {func(o *backend.ConsumeOptions) { o.Partitions = 1025 }, backend.ErrInvalidArgument, "Partitions"},
		"a takeover time too short":    {func(o *backend.ConsumeOptions) { o.TakeoverAfter = 99 * time.Millisecond }, backend.ErrInvalidArgument, "TakeoverAfter"},
		"a member's name too long":     {func(o *backend.ConsumeOptions) { o.Member = strings.Repeat("m", 129) }, backend.ErrInvalidArgument, "Member"},
	} {
		t.Run("Consume refuses "+what+" by an error that says so, and makes no subscription", func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 1)
			row.change(&s.options)
			err := backend.Consume(s.ctx, b, s.id, s.options, nothing)
			wantErr(t, err, row.err)
			if !strings.Contains(err.Error(), row.names) {
				t.Errorf("the error %q doesn't say %q", err, row.names)
			}
			if _, exists := s.describe(); exists {
				t.Error("it made one")
			}
		})
	}
	t.Run("Consume without a handler is ErrInvalidArgument", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		wantErr(t, backend.Consume(s.ctx, b, s.id, s.options, nil), backend.ErrInvalidArgument)
	})

	for what, row := range map[string]struct {
		change func(*backend.ConsumeOptions)
		option string
	}{
		"another prefix":                {func(o *backend.ConsumeOptions) { o.Under += ".x" }, "Under"},
		"other event types":             {func(o *backend.ConsumeOptions) { o.EventTypes = []string{"B"} }, "EventTypes"},
		"all event types":               {func(o *backend.ConsumeOptions) { o.EventTypes = nil }, "EventTypes"},
		"another policy when it parks":  {func(o *backend.ConsumeOptions) { o.OnPark = backend.SkipCommit }, "OnPark"},
		"another number of partitions":  {func(o *backend.ConsumeOptions) { o.Partitions = 7 }, "Partitions"},
		"another takeover time":         {func(o *backend.ConsumeOptions) { o.TakeoverAfter = 3 * time.Second }, "TakeoverAfter"},
		"the takeover time left to ten": {func(o *backend.ConsumeOptions) { o.TakeoverAfter = 0 }, "TakeoverAfter"},
	} {
		t.Run("Consume with "+what+" than the subscription has is a SubscriptionConflictError that names the option", func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 1)
			s.options.EventTypes = []string{"A"}
			first := s.start(nil)
			s.streams[0].mustAppend(backend.AnyVersion(), typed("A"))
			s.until(1)
			other := s.options
			row.change(&other)
			for range 2 { // with another member there, and without
				err := backend.Consume(s.ctx, b, s.id, other, nothing)
				wantErr(t, err, backend.ErrSubscriptionConflict)
				conflict, ok := errors.AsType[*backend.SubscriptionConflictError](err)
				switch {
				case !ok:
					t.Fatalf("the error %q is no *SubscriptionConflictError", err)
				case conflict.Option != row.option || conflict.Name != s.id || conflict.Have == conflict.Want:
					t.Fatalf("the error tells of %q, option %q: has %q, want %q", conflict.Name, conflict.Option, conflict.Have, conflict.Want)
				}
				first.cancel()
				<-first.ended
			}
			s.start(nil) // it is as it was
			s.streams[0].mustAppend(backend.AnyVersion(), typed("A"))
			s.until(2)
		})
	}
	t.Run("Consume with another event stream than the subscription has is a SubscriptionConflictError that names the option", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 2)
		s.options.Under, s.options.Stream = "", s.streams[0].name
		s.streams[0].add(1)
		s.start(nil)
		s.until(1)
		s.options.Stream = s.streams[1].name
		err := backend.Consume(s.ctx, b, s.id, s.options, nothing)
		if conflict, ok := errors.AsType[*backend.SubscriptionConflictError](err); !ok || conflict.Option != "Stream" {
			t.Fatalf("it returned the error %v", err)
		}
	})
	t.Run("members may differ in what is not shared", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.streams[0].add(1)
		c := s.start(nil)
		s.until(1)
		c.stop()
		s.options.Concurrency, s.options.MaxAttempts, s.options.RetryDelay, s.options.MaxRetryDelay = 7, 3, time.Second, time.Minute
		s.start(nil)
		s.streams[0].add(1)
		s.wantHandled(s.until(2))
	})
	t.Run("Consume does not modify its options, and what becomes of them later has no effect", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.options.EventTypes = []string{"B", "A"}
		s.start(nil)
		s.untilExists()
		if !slices.Equal(s.options.EventTypes, []string{"B", "A"}) {
			t.Fatalf("the event types became %q", s.options.EventTypes)
		}
		s.options.EventTypes[0] = "C"
		s.streams[0].mustAppend(backend.AnyVersion(), typed("A", "B", "C"))
		wantSameEvents(t, s.streams[0].all()[:2], s.until(1)[0].Events)
	})
}
