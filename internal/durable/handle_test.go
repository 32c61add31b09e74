package durable

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tributary-es/tributary/backend"
)

func TestTheWaitDoublesUpToAGreatest(t *testing.T) {
	for _, row := range []struct {
		delay, greatest time.Duration
		attempt         int
		want            time.Duration // give or take a quarter
	}{
		{100 * time.Millisecond, 10 * time.Second, 1, 100 * time.Millisecond},
		{100 * time.Millisecond, 10 * time.Second, 2, 200 * time.Millisecond},
		{100 * time.Millisecond, 10 * time.Second, 7, 6400 * time.Millisecond},
		{100 * time.Millisecond, 10 * time.Second, 8, 10 * time.Second},
		{100 * time.Millisecond, 10 * time.Second, 1 << 30, 10 * time.Second},
		{time.Second, 100 * time.Millisecond, 1, 100 * time.Millisecond},
		{time.Nanosecond, 24 * time.Hour, 40, time.Nanosecond << 39},
		{time.Nanosecond, 24 * time.Hour, 60, 24 * time.Hour},
		{24 * time.Hour, 24 * time.Hour, 2, 24 * time.Hour},
	} {
		term := &term{member: &member{options: backend.ConsumeOptions{RetryDelay: row.delay, MaxRetryDelay: row.greatest}}}
		seen := map[time.Duration]bool{}
		for range 100 {
			got := term.retryDelay(row.attempt)
			if got < row.want*3/4 || got > row.want*5/4+1 {
				t.Fatalf("from %v up to %v, the wait after attempt %d is %v, want %v give or take a quarter", row.delay, row.greatest, row.attempt, got, row.want)
			}
			seen[got] = true
		}
		if row.want > time.Millisecond && len(seen) < 2 {
			t.Errorf("the wait after attempt %d is always the same", row.attempt)
		}
	}
}

func TestNoWaitIsLongerThanTheGreatestAndAQuarter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		day := int64(24 * time.Hour)
		options := backend.ConsumeOptions{
			RetryDelay:    time.Duration(rapid.Int64Range(1, day).Draw(t, "delay")),
			MaxRetryDelay: time.Duration(rapid.Int64Range(1, day).Draw(t, "greatest")),
		}
		term := &term{member: &member{options: options}}
		attempt := rapid.IntRange(1, 1<<30).Draw(t, "attempt")
		if got := term.retryDelay(attempt); got < 0 || got > options.MaxRetryDelay*5/4+1 {
			t.Fatalf("the wait is %v", got)
		}
	})
}
