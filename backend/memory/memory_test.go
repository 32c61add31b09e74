package memory_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/backend/backendtest"
	"github.com/tributary-es/tributary/backend/memory"
)

func TestContract(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend { return memory.New() })
}

// A test suite that uses one store for all its tests would else grow without
// end.
func TestWhatIsErasedIsFreed(t *testing.T) {
	b := memory.New()
	event := []backend.UnsavedEvent{{EventType: "Happened", Data: make([]byte, 128<<10)}}
	for i := range 500 { // 62 MiB
		if _, err := backend.Append(t.Context(), b, "account-42", backend.AnyVersion(), event, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		err := b.Truncate(t.Context(), "account-42", uint64(i+1), uuid.Nil)
		if i%3 == 0 {
			err = b.DeleteStream(t.Context(), backend.Stream{UUID: "account-42"}, uuid.Nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	if stats.HeapAlloc > 20<<20 {
		t.Errorf("%d MiB are in use", stats.HeapAlloc>>20)
	}
	runtime.KeepAlive(b)
}

// An append wakes those whom it concerns, however many others wait.
func TestManySubscriptionsEachGetTheirEvents(t *testing.T) {
	const n = 10_000
	b := memory.New()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var idle, done sync.WaitGroup
	idle.Add(n)
	events := make([]int, n)
	for i := range n {
		done.Go(func() {
			options := backend.SubscribeOptions{Stream: fmt.Sprintf("account-%d", i)}
			batches := 0
			for batch, err := range backend.Subscribe(ctx, b, options) {
				if err != nil {
					t.Error(err)
					return
				}
				if batches++; batches == 1 {
					idle.Done()
				}
				if events[i] += len(batch.Events); events[i] == 2 {
					if batches > 3 {
						t.Errorf("subscription %d was told something %d times, want 3 at most", i, batches)
					}
					return
				}
			}
		})
	}
	idle.Wait()
	for range 2 {
		for i := range n {
			event := []backend.UnsavedEvent{{EventType: "Happened"}}
			if _, err := backend.Append(t.Context(), b, fmt.Sprintf("account-%d", i), backend.AnyVersion(), event, uuid.Nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	done.Wait()
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 10} {
		for name, id := range map[string]func() uuid.UUID{"new ids": func() uuid.UUID { return uuid.Nil }, "given ids": uuid.New} {
			b.Run(fmt.Sprintf("%d events, %s", n, name), func(b *testing.B) {
				store := memory.New()
				events := make([]backend.UnsavedEvent, n)
				for i := range events {
					events[i] = backend.UnsavedEvent{EventType: "Happened", Data: make([]byte, 128)}
				}
				b.ReportAllocs()
				for b.Loop() {
					for i := range events {
						events[i].EventUUID = id()
					}
					if _, err := store.Append(b.Context(), "account-42", backend.AnyVersion(), events, uuid.Nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkReadStream(b *testing.B) {
	store := memory.New()
	for range 10_000 {
		if _, err := store.Append(b.Context(), "account-42", backend.AnyVersion(), []backend.UnsavedEvent{{EventType: "Happened", Data: make([]byte, 128)}}, uuid.Nil); err != nil {
			b.Fatal(err)
		}
	}
	for _, n := range []uint64{1, 10, 1000} {
		b.Run(fmt.Sprintf("%d of 10,000 events", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got, err := store.ReadStream(b.Context(), "account-42", 5000, n, uuid.Nil); err != nil || uint64(len(got)) != n {
					b.Fatalf("%d events, error %v", len(got), err)
				}
			}
		})
	}
}

func BenchmarkReadStreamInfo(b *testing.B) {
	store := memory.New()
	if _, err := store.CreateStream(b.Context(), backend.Stream{UUID: "account-42"}, uuid.Nil); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := store.ReadStreamInfo(b.Context(), "account-42", uuid.Nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadAll(b *testing.B) {
	store := memory.New()
	for i := range 1000 {
		if _, err := store.Append(b.Context(), fmt.Sprintf("account-%d", i%100), backend.AnyVersion(), []backend.UnsavedEvent{{EventType: "Happened", Data: make([]byte, 128)}}, uuid.Nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for batch, err := range store.ReadAll(b.Context(), backend.ReadAllOptions{}, uuid.Nil) {
			if err != nil {
				b.Fatal(err)
			}
			n += len(batch)
		}
		if n != 1000 {
			b.Fatalf("%d events", n)
		}
	}
}
