package faulttest

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// isConflict tells that an append was refused as another was faster.
func isConflict(err error) bool {
	return errors.Is(err, backend.ErrWrongExpectedVersion) || errors.Is(err, backend.ErrStreamExists)
}

// registerModel is what an event stream is as far as its versions go: an append
// of n events at version v makes it v + n.
var registerModel = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		version, in, out := state.(uint64), input.(registerInput), output.(uint64)
		switch {
		case in.refused:
			return version == out && (!in.exact || in.expected != version), version
		case in.events == 0:
			return version == out, version
		}
		return version+in.events == out && (!in.exact || in.expected == version), out
	},
	DescribeOperation: func(input, output any) string {
		in := input.(registerInput)
		switch {
		case in.refused:
			return fmt.Sprintf("append at version %d, refused at %d", in.expected, output)
		case in.events == 0:
			return fmt.Sprintf("read version %d", output)
		}
		return fmt.Sprintf("append %d events at version %d, then %d", in.events, in.expected, output)
	},
}

type registerInput struct {
	events   uint64 // 0: a read
	refused  bool   // since the version is another than was expected
	exact    bool
	expected uint64
}

// linearizableTimeout bounds the search for an order.
const linearizableTimeout = time.Minute

// checkLinearizable has porcupine look for an order of the operations on each
// register. An append whose outcome is unknown may have taken effect at any time
// after its call; the last read told whether it did. Reads take part where a
// leader that can't have been cut off answered them, and so do appends that were
// refused on its word.
func (l *Load) checkLinearizable() {
	l.Ledger.mu.Lock()
	histories := make(map[string][]porcupine.Operation)
	for _, a := range l.Ledger.appends() {
		op := a.ops[0]
		expected, exact := op.Expected.Exact()
		if actual, refused := op.refusedAt(); refused && l.strict {
			histories[a.stream] = append(histories[a.stream], porcupine.Operation{ClientId: op.Client, Call: int64(op.Call), Return: int64(op.Return),
				Input: registerInput{refused: true, exact: exact, expected: expected}, Output: actual})
		}
		first, ok := l.Ledger.versionOf(a)
		if !ok {
			continue // never took effect
		}
		ret := int64(math.MaxInt64)
		if acked := a.acknowledged(); acked != nil {
			ret = int64(acked.Return)
		}
		n := uint64(len(a.ids))
		histories[a.stream] = append(histories[a.stream], porcupine.Operation{ClientId: op.Client, Call: int64(op.Call), Return: ret,
			Input: registerInput{events: n, exact: exact, expected: expected}, Output: first + n - 1})
	}
	for _, seen := range l.Ledger.looks {
		if seen.linearizable && l.strict {
			histories[seen.stream] = append(histories[seen.stream], porcupine.Operation{ClientId: seen.client, Call: int64(seen.call), Return: int64(seen.ret),
				Input: registerInput{}, Output: seen.version})
		}
	}
	l.Ledger.mu.Unlock()
	for i := range registers {
		name := l.register(i)
		switch porcupine.CheckOperationsTimeout(registerModel, histories[name], linearizableTimeout) {
		case porcupine.Illegal:
			l.Ledger.violate("%s: no order explains its %d operations", name, len(histories[name]))
		case porcupine.Unknown:
			l.Ledger.violate("%s: whether an order explains its %d operations is not known after %v", name, len(histories[name]), linearizableTimeout)
		}
	}
}

// versionOf is the version of the first event of an append that is stored.
func (l *Ledger) versionOf(a *appended) (uint64, bool) {
	if l.places == nil {
		l.places = make(map[uuid.UUID]uint64, len(l.seen))
		for p, id := range l.seen {
			l.places[id] = p.version
		}
	}
	version, ok := l.places[a.ids[0]]
	return version, ok
}
