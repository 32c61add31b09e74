package backend_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tributary-es/tributary/backend"
)

// wantBad fails the test where err isn't a short one that says that an argument is
// bad.
func wantBad(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, backend.ErrInvalidArgument) && !errors.Is(err, backend.ErrInvalidStreamUUID) || len(err.Error()) > 6000 {
		t.Errorf("%.2000v, want ErrInvalidArgument or ErrInvalidStreamUUID", err)
	}
}

// Whatever a subscription or a checkpoint is called, its name is refused, or one
// token of a subject, and no wildcard.
func FuzzSubscriptionName(f *testing.F) {
	for _, name := range []string{"", "a", "A-1_z", "a.b", "*", ">", "a b", "$JS", "a\r\nPUB x 0", "\xff", "ä", "\x00", "/", "=", strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("x", 300)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if err := backend.CheckSubscriptionName(name); err != nil {
			wantBad(t, err)
			return
		}
		for _, subject := range []string{"$KV.EVENTS_SUBSCRIPTIONS.subscription." + name, "events.$parked." + name} {
			if !server.IsValidLiteralSubject(subject) || !server.IsValidPublishSubject(subject) || len(subject) > 1000 {
				t.Errorf("%q is no subject", subject)
			}
		}
		if strings.ContainsAny(name, ". \t\r\n") {
			t.Errorf("%q is more than a token", name)
		}
	})
}

// Whatever options are, they are refused, or made such that nothing need be
// checked again.
func FuzzConsumeOptions(f *testing.F) {
	f.Add("", "", "", byte(0), uint64(0), 0, 0, 0, 0, 0, int64(0), int64(0), int64(0), "")
	f.Add("account-42", "", "Opened", byte(1), uint64(7), 1, 1, 1, 1, 1, int64(time.Second), int64(time.Second), int64(time.Second), "me")
	f.Add("", "account", "", byte(2), uint64(7), 1024, 1<<30, 1024, 1<<20, 0, int64(24*time.Hour), int64(24*time.Hour), int64(24*time.Hour), strings.Repeat("m", 128))
	f.Add("a", "b", strings.Repeat("T", 4097), byte(3), ^uint64(0), -1, -1, -1, -1, 2, int64(-1), int64(-1), int64(1), strings.Repeat("m", 129))
	f.Add("$parked.x", "$", "\xff", byte(2), ^uint64(0), 1025, 1<<62, 1025, -1<<62, -1, int64(1<<62), int64(1<<62), int64(1<<62), "\r\n")
	f.Fuzz(func(t *testing.T, stream, under, eventType string, start byte, at uint64, concurrency, attempts, partitions, batch, onPark int, retry, maxRetry, takeover int64, member string) {
		from := []backend.Start{backend.FromBeginning(), backend.AfterPosition(at), backend.FromVersion(at), backend.FromNow()}[start%4]
		var types []string
		if eventType != "" {
			types = []string{eventType, eventType}
		}
		s := backend.SubscribeOptions{Stream: stream, Under: under, EventTypes: types, From: from, BatchSize: batch}
		if prepared, err := s.Prepare(); err != nil {
			wantBad(t, err)
		} else {
			if prepared.BatchSize < 1 || stream != "" && under != "" {
				t.Errorf("accepted: %+v", prepared)
			}
			if again, err := prepared.Prepare(); err != nil || !reflect.DeepEqual(again, prepared) {
				t.Errorf("%+v, prepared again: %+v, %v", prepared, again, err)
			}
		}
		c := backend.ConsumeOptions{Stream: stream, Under: under, EventTypes: types, From: from, Concurrency: concurrency, MaxAttempts: attempts, Partitions: partitions,
			OnPark: backend.ParkPolicy(onPark), RetryDelay: time.Duration(retry), MaxRetryDelay: time.Duration(maxRetry), TakeoverAfter: time.Duration(takeover), Member: member}
		prepared, err := c.Prepare()
		if err != nil {
			wantBad(t, err)
			return
		}
		switch {
		case prepared.Concurrency < 1 || prepared.Concurrency > 1024, prepared.Partitions < 1 || prepared.Partitions > 1024, prepared.MaxAttempts < 1:
			t.Errorf("accepted: %+v", prepared)
		case prepared.RetryDelay <= 0, prepared.MaxRetryDelay <= 0, prepared.TakeoverAfter < 100*time.Millisecond,
			max(prepared.RetryDelay, prepared.MaxRetryDelay, prepared.TakeoverAfter) > 24*time.Hour:
			t.Errorf("accepted: %+v", prepared)
		}
		if again, err := prepared.Prepare(); err != nil || !reflect.DeepEqual(again, prepared) {
			t.Errorf("%+v, prepared again: %+v, %v", prepared, again, err)
		}
	})
}

func FuzzImportOptions(f *testing.F) {
	for _, n := range []int64{0, 1, -1, 1<<63 - 1, -1 << 63} {
		f.Add(int(n), n)
	}
	f.Fuzz(func(t *testing.T, window int, every int64) {
		o, err := backend.ImportOptions{Window: window, ProgressEvery: time.Duration(every)}.Prepare()
		if err != nil {
			wantBad(t, err)
			return
		}
		if o.Window < 1 || o.ProgressEvery <= 0 || window < 0 || every < 0 {
			t.Errorf("accepted: %+v", o)
		}
	})
}
