package backend

import (
	"context"
	"fmt"
	"time"
)

// Defaults of [ConsumeOptions].
const (
	DefaultMaxAttempts   = 5
	DefaultRetryDelay    = 100 * time.Millisecond
	DefaultMaxRetryDelay = 10 * time.Second
	DefaultPartitions    = 32
	DefaultTakeoverAfter = 10 * time.Second
)

// SubscriptionGrace is how long [WaitFor] waits for a named subscription to be
// made.
const SubscriptionGrace = 5 * time.Second

// MaxSubscriptionNameBytes is the longest name of a named subscription, in
// bytes.
const MaxSubscriptionNameBytes = 64

// Commit is what a [Handler] is given: the events of one event stream that have a
// position in common, and are of the types asked for. That is an append, or several
// to the event stream that were stored together, as a backend may do with those that
// are made at the same time. They are handled, retried and parked as one.
type Commit struct {
	StreamUUID string          // the event stream
	Position   uint64          // of the commit
	Events     []RecordedEvent // in order; at least one
	Attempt    int             // counts the calls for this commit by this member, from 1; when it is replayed, goes on from [ParkedCommit.Attempts]
}

// Handler deals with a commit. An error, or a panic, means that it didn't, and
// [ConsumeOptions] say what follows. ctx ends when the commit is no longer this
// member's to deal with: because [Consume] ends, or another member took over.
type Handler func(ctx context.Context, c Commit) error

// ParkPolicy says what becomes of the later commits of an event stream when one of
// its commits is parked.
type ParkPolicy int

const (
	// HoldStream parks them, too, without trying them: the event stream waits, in
	// order, until the first one is replayed or discarded. Others go on.
	HoldStream ParkPolicy = iota

	// SkipCommit goes on with them: the parked commit is dealt with out of order,
	// if ever. A handler that recognises what it has done by the last position of the
	// event stream would pass over it then.
	SkipCommit
)

// String returns "hold stream" or "skip commit".
func (p ParkPolicy) String() string {
	if p == SkipCommit {
		return "skip commit"
	}
	return "hold stream"
}

// ConsumeOptions configure [Consume]. The zero value deals with every event of
// the store, from the beginning, one commit at a time.
//
// What is marked "shared" belongs to the subscription of that name: it is set by
// the first Consume, and another that says otherwise is refused with a
// [*SubscriptionConflictError].
type ConsumeOptions struct {
	// Stream, Under and EventTypes say which events are meant, as in
	// [SubscribeOptions]; shared. The order of EventTypes is of no matter.
	Stream     string
	Under      string
	EventTypes []string

	// From is where a new subscription starts; the member that makes it says so. Of
	// no matter where the subscription exists, so that it may be computed; see
	// [ResetSubscription] then. [FromNow] is the moment at which the subscription is
	// made; [FromVersion] is not possible.
	From Start

	// Concurrency is how many commits this member deals with at the same time, of
	// different event streams always. 0: 1. At most 1024.
	Concurrency int

	// MaxAttempts is how often a commit is given to the handler before it is
	// parked. 0: [DefaultMaxAttempts]. A panic parks at once.
	MaxAttempts int

	// RetryDelay is the wait before the second attempt, and doubles with each
	// further one up to MaxRetryDelay, which also bounds the first; up to a quarter of
	// it, at random, is taken off or added. Meanwhile commits of other event streams
	// are dealt with. 0: [DefaultRetryDelay] and [DefaultMaxRetryDelay].
	RetryDelay    time.Duration
	MaxRetryDelay time.Duration

	// OnPark says what becomes of an event stream of which a commit is parked;
	// shared.
	OnPark ParkPolicy

	// Partitions is into how many parts the event streams are divided, by their
	// names; a part is dealt with by one member at a time, so that no more members
	// than that have something to do; shared. 0: [DefaultPartitions]. At most 1024.
	Partitions int

	// TakeoverAfter is how long a member may be silent before the others take over
	// from it, and the time within which it gives up by itself; at least 100 ms;
	// shared. 0: [DefaultTakeoverAfter].
	TakeoverAfter time.Duration

	// Member is how this member is called in [Subscriptions], at most 128 bytes.
	// Empty: the host's name and the process id.
	Member string
}

// Consumer is the capability to keep named subscriptions. Use it through
// [Consume] and [WaitFor].
type Consumer interface {
	// Consume is as the function [Consume] says.
	Consume(ctx context.Context, name string, options ConsumeOptions, handler Handler) error

	// WaitFor is as the function [WaitFor] says.
	WaitFor(ctx context.Context, name string, position uint64) error
}

// Consume is a member of the named subscription: it calls handler for commits
// until ctx ends. The store keeps how far the subscription is. Members of the same
// name, in any number of processes, divide the event streams among themselves; when
// one comes, leaves or dies, the others adapt.
//
// Every commit is handled at least once, and in order within its event stream,
// of which one member at a time handles one commit at a time. Where a member dies,
// what it handled since it last told the store, a tenth of a second before at
// most, is handled again, and so is what came, in the same part of the event
// streams, after a commit that was still being handled or retried; some of that
// also where a part changes hands because members come or go. A member that has been silent for
// [ConsumeOptions.TakeoverAfter] may find that another handled its commits
// meanwhile: its handlers' contexts end then, which a process that was paused sees
// when it goes on, and one whose machine slept within a second.
//
// A handler that fails is called again after a while, and after
// [ConsumeOptions.MaxAttempts] its commit is parked (see [Parked]): put aside
// with its error, so that the subscription can go on.
//
// A name is 1 to [MaxSubscriptionNameBytes] ASCII letters, digits, "-" and "_".
// Consume returns when ctx ends, with its error, after the handlers under way
// have returned, their contexts having ended, and the store knows what was done.
// It returns [ErrInvalidArgument] or [ErrInvalidStreamUUID] for bad arguments,
// [*SubscriptionConflictError], [ErrSubscriptionNotFound] when the subscription is
// deleted under it, [*CorruptedError] where it comes upon damage, when all that it
// read before is handled or parked, [ErrUnavailable] where the store can't be
// reached when it begins, or waiting is of no use, or [ErrUnsupported].
func Consume(ctx context.Context, b Backend, name string, options ConsumeOptions, handler Handler) error {
	c, ok := b.(Consumer)
	if !ok {
		return fmt.Errorf("%w: %s named subscriptions", ErrUnsupported, b.BackendName())
	}
	return c.Consume(ctx, name, options, handler)
}

// WaitFor returns when the named subscription has dealt with everything up to
// position (inclusive), such as that of an [AppendResult]: a command can be
// answered when its projection shows it. What is parked counts as dealt with. A
// position beyond the end is waited for until ctx ends.
//
// A subscription that doesn't exist is waited for, too, since its first member may
// be about to make it; for [SubscriptionGrace] at most, so that a misspelt name
// doesn't wait for ever.
//
// It returns [ErrSubscriptionNotFound], at once where the subscription is deleted
// meanwhile, and with the context's error where that ends before it is made;
// [ErrInvalidArgument] for an illegal name, the context's error, [ErrUnavailable] or [ErrUnsupported].
func WaitFor(ctx context.Context, b Backend, name string, position uint64) error {
	c, ok := b.(Consumer)
	if !ok {
		return fmt.Errorf("%w: %s named subscriptions", ErrUnsupported, b.BackendName())
	}
	return c.WaitFor(ctx, name, position)
}

// CheckSubscriptionName returns nil for what can be the name of a named
// subscription, or of a checkpoint, and else [ErrInvalidArgument].
func CheckSubscriptionName(name string) error {
	if name == "" || len(name) > MaxSubscriptionNameBytes {
		return fmt.Errorf("%w: a subscription's name of %d bytes, must have 1 to %d: %.80q", ErrInvalidArgument, len(name), MaxSubscriptionNameBytes, name)
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return fmt.Errorf("%w: a subscription's name with neither letter, digit, '-' nor '_' at byte %d: %q", ErrInvalidArgument, i, name)
		}
	}
	return nil
}

// Prepare checks options and returns them with the defaults filled in. It is for
// those who implement a [Consumer]. The error is [ErrInvalidArgument] or
// [ErrInvalidStreamUUID].
func (o ConsumeOptions) Prepare() (ConsumeOptions, error) {
	followed, err := SubscribeOptions{Stream: o.Stream, Under: o.Under, EventTypes: o.EventTypes}.Prepare()
	if err != nil {
		return o, err
	}
	o.EventTypes = followed.EventTypes
	if _, ok := o.From.Version(); ok {
		return o, fmt.Errorf("%w: a named subscription can't start from %s", ErrInvalidArgument, o.From)
	}
	for _, n := range []struct {
		field string
		value *int
		most  int
		unset int
	}{
		{"Concurrency", &o.Concurrency, 1024, 1},
		{"MaxAttempts", &o.MaxAttempts, 1 << 30, DefaultMaxAttempts},
		{"Partitions", &o.Partitions, 1024, DefaultPartitions},
	} {
		if *n.value < 0 || *n.value > n.most {
			return o, fmt.Errorf("%w: ConsumeOptions.%s is %d, must be 0 to %d", ErrInvalidArgument, n.field, *n.value, n.most)
		}
		if *n.value == 0 {
			*n.value = n.unset
		}
	}
	for _, d := range []struct {
		field string
		value *time.Duration
		least time.Duration
		unset time.Duration
	}{
		{"RetryDelay", &o.RetryDelay, 0, DefaultRetryDelay},
		{"MaxRetryDelay", &o.MaxRetryDelay, 0, DefaultMaxRetryDelay},
		{"TakeoverAfter", &o.TakeoverAfter, 100 * time.Millisecond, DefaultTakeoverAfter},
	} {
		if *d.value == 0 {
			*d.value = d.unset
		}
		if *d.value < d.least || *d.value > 24*time.Hour {
			return o, fmt.Errorf("%w: ConsumeOptions.%s is %v, must be 0 or %v to 24h", ErrInvalidArgument, d.field, *d.value, d.least)
		}
	}
	switch {
	case o.OnPark != HoldStream && o.OnPark != SkipCommit:
		return o, fmt.Errorf("%w: ConsumeOptions.OnPark is %d, must be HoldStream or SkipCommit", ErrInvalidArgument, int(o.OnPark))
	case len(o.Member) > 128:
		return o, fmt.Errorf("%w: ConsumeOptions.Member has %d bytes, limit 128", ErrInvalidArgument, len(o.Member))
	}
	return o, nil
}
