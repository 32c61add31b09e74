package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/durable"
)

// SubscriptionsBucket is the key-value bucket that holds the named subscriptions
// and the checkpoints of the store on a JetStream stream of that name: EVENTS has
// EVENTS_SUBSCRIPTIONS. It is made when it is first needed, with as many replicas
// as the store has and [Config.PlacementTags], and can be looked at with the nats
// command line tool; what it holds is for this library to change.
func SubscriptionsBucket(stream string) string { return stream + "_SUBSCRIPTIONS" }

// keys is the key-value bucket of a store. Its values are read from the leader:
// a stale one would only make a change fail, but one that is missing means
// something.
type keys struct {
	b  *Backend
	mu sync.Mutex
	js natsjs.JetStream
	kv natsjs.KeyValue // nil: not opened yet
}

// open returns the bucket, which it makes where it is missing.
func (k *keys) open(ctx context.Context) (natsjs.KeyValue, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kv != nil {
		return k.kv, nil
	}
	var js natsjs.JetStream
	var err error
	if k.b.cfg.Domain != "" {
		js, err = natsjs.NewWithDomain(k.b.nc, k.b.cfg.Domain)
	} else {
		js, err = natsjs.New(k.b.nc)
	}
	if err != nil {
		return nil, err
	}
	bucket := SubscriptionsBucket(k.b.cfg.Stream)
	kv, err := js.KeyValue(ctx, bucket)
	if errors.Is(err, natsjs.ErrBucketNotFound) {
		storage := natsjs.FileStorage
		if k.b.cfg.Storage == MemoryStorage {
			storage = natsjs.MemoryStorage
		}
		var where *natsjs.Placement
		if len(k.b.cfg.PlacementTags) > 0 {
			where = &natsjs.Placement{Tags: k.b.cfg.PlacementTags}
		}
		_, err = js.CreateStream(ctx, natsjs.StreamConfig{
			Name:              "KV_" + bucket,
			Description:       "The named subscriptions of " + k.b.cfg.Stream,
			Subjects:          []string{"$KV." + bucket + ".>"},
			MaxMsgsPerSubject: 1,
			Discard:           natsjs.DiscardNew,
			AllowRollup:       true,
			DenyDelete:        true,
			Storage:           storage,
			Replicas:          k.b.replicas,
			Placement:         where,
		})
		if err != nil && !errors.Is(err, natsjs.ErrStreamNameAlreadyInUse) {
			return nil, fmt.Errorf("creating the bucket %s: %w", bucket, err)
		}
		kv, err = js.KeyValue(ctx, bucket)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the bucket %s: %w", bucket, err)
	}
	k.js, k.kv = js, kv
	return kv, nil
}

// forget has the bucket be opened anew.
func (k *keys) forget(kv natsjs.KeyValue) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kv == kv {
		k.kv = nil
	}
}

// do does something with the bucket, and again where that failed for want of an
// answer, until it succeeds, or fails in a way that is final, or ctx ends.
func (k *keys) do(ctx context.Context, what func(context.Context, natsjs.KeyValue) error) error {
	ctx, cancel, err := k.b.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	for tries := 0; ; tries++ {
		err := k.once(ctx, what)
		apiErr, isAPIError := errors.AsType[*natsjs.APIError](err)
		switch {
		case err == nil, errors.Is(err, durable.ErrRevision), errors.Is(err, nats.ErrPermissionViolation):
			return err
		case isAPIError && apiErr.Code != 503, errors.Is(err, nats.ErrMaxPayload):
			return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
		case k.b.nc.IsClosed(), k.b.closed.Load():
			return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
		}
		k.b.log.DebugContext(ctx, "repeating a request to the bucket", "error", err)
		if !pause(ctx, tries) {
			return unavailable(ctx, err)
		}
	}
}

func (k *keys) once(ctx context.Context, what func(context.Context, natsjs.KeyValue) error) error {
	ctx, cancel := within(ctx, k.b.cfg.RequestTimeout)
	defer cancel()
	before := k.b.nc.LastError()
	kv, err := k.open(ctx)
	if err == nil {
		err = what(ctx, kv)
	}
	if errors.Is(err, natsjs.ErrStreamNotFound) || errors.Is(err, natsjs.ErrNoStreamResponse) {
		k.forget(kv) // it was deleted: what comes next makes it anew
	}
	if last := k.b.nc.LastError(); err != nil && last != before && errors.Is(last, nats.ErrPermissionViolation) &&
		strings.Contains(last.Error(), SubscriptionsBucket(k.b.cfg.Stream)) {
		return notPermitted(last)
	}
	return err
}

// load returns the value of a key and its revision; revision 0: there is none.
func (k *keys) load(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	err = k.do(ctx, func(ctx context.Context, kv natsjs.KeyValue) error {
		entry, err := kv.Get(ctx, key)
		if errors.Is(err, natsjs.ErrKeyNotFound) { // or was deleted
			value, revision = nil, 0
			return nil
		}
		if err == nil {
			value, revision = entry.Value(), entry.Revision()
		}
		return err
	})
	return value, revision, err
}

// save stores a value where the key has the revision, else
// [durable.ErrRevision]; so, and [backend.ErrOutcomeUnknown], where the answer
// didn't come, and it may have been stored: only looking again can tell.
func (k *keys) save(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	var next uint64
	err := k.do(ctx, func(ctx context.Context, kv natsjs.KeyValue) error {
		var err error
		if revision == 0 {
			next, err = kv.Create(ctx, key, value)
		} else {
			next, err = kv.Update(ctx, key, value, revision)
		}
		return changed(err)
	})
	return next, err
}

// remove removes a key where it has the revision, else [durable.ErrRevision].
func (k *keys) remove(ctx context.Context, key string, revision uint64) error {
	return k.do(ctx, func(ctx context.Context, kv natsjs.KeyValue) error {
		return changed(kv.Purge(ctx, key, natsjs.LastRevision(revision)))
	})
}

// list returns the keys that begin with prefix, a token and a dot. Some may have
// been removed.
func (k *keys) list(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	err := k.do(ctx, func(ctx context.Context, kv natsjs.KeyValue) error {
		names = nil
		subjects := "$KV." + kv.Bucket() + "."
		stream, err := k.js.Stream(ctx, "KV_"+kv.Bucket())
		if err != nil {
			return err
		}
		info, err := stream.Info(ctx, natsjs.WithSubjectFilter(subjects+prefix+">"))
		if err != nil {
			return err
		}
		for subject := range info.State.Subjects {
			names = append(names, strings.TrimPrefix(subject, subjects))
		}
		return nil
	})
	return names, err
}

// changed makes [durable.ErrRevision] of an error that says that a key has another
// revision, or may have.
func changed(err error) error {
	apiErr, isAPIError := errors.AsType[*natsjs.APIError](err)
	switch {
	case isAPIError && (int(apiErr.ErrorCode) == codeWrongLastSequence || int(apiErr.ErrorCode) == codeWrongLastConstant),
		errors.Is(err, natsjs.ErrKeyExists), errors.Is(err, natsjs.ErrKeyRevisionMismatch):
		return fmt.Errorf("%w: %w", durable.ErrRevision, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrDisconnected):
		return fmt.Errorf("%w, or %w: %v", durable.ErrRevision, backend.ErrOutcomeUnknown, err)
	}
	return err
}

// checkpointPrefix begins the key of a checkpoint.
const checkpointPrefix = "checkpoint."

// OpenCheckpoint is as the function [backend.OpenCheckpoint] says. The position is
// the value of the key checkpoint.<name> in [SubscriptionsBucket], in decimal
// digits, before a space and the id of who saved it.
func (b *Backend) OpenCheckpoint(ctx context.Context, name string) (backend.Checkpoint, error) {
	if err := backend.CheckSubscriptionName(name); err != nil {
		return nil, err
	}
	if err := b.mayBegin(ctx); err != nil {
		return nil, err
	}
	return durable.NewCheckpoint(durableStore{b}, checkpointPrefix+name), nil
}
