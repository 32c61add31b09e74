package durable

import (
	"testing"
	"time"

	"github.com/tributary-es/tributary/backend"
)

// One commit that takes for ever must not keep all that comes after it.
func TestWhatIsDealtWithIsForgottenBehindOneThatIsNot(t *testing.T) {
	options, err := backend.ConsumeOptions{Partitions: 1}.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	tm := newTerm(&member{options: options}, "a", time.Now(), newDocument(sharedOf(options), 0))
	tm.work.init(tm)
	o := &ownership{}
	tm.owned[0] = o
	give := func(name string, position uint64) *item {
		tm.dispatch(backend.Batch{Position: position, Events: []backend.RecordedEvent{{StreamUUID: name, Position: position, Data: make([]byte, 1)}}})
		return o.pending[len(o.pending)-1]
	}
	stuck := give("stuck", 1)
	const others = 10_000
	for i := range uint64(others) {
		it := give("other", 2+i)
		tm.work.complete(it)
		if it.commit.Events != nil {
			t.Fatal("the events of a commit that is dealt with are kept")
		}
		if len(o.pending) > 2*maxDone+1 {
			t.Fatalf("%d items are kept, of which one is not dealt with", len(o.pending))
		}
	}
	if got := tm.position(o); got != 0 {
		t.Errorf("the partition is dealt with up to %d before the first commit is", got)
	}
	tm.work.complete(stuck)
	if got := tm.position(o); got != others+1 {
		t.Errorf("the partition is dealt with up to %d, want %d", got, others+1)
	}
}
