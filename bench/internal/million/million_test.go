package million_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/bench/internal/million"
	"github.com/tributary-es/tributary/bench/internal/servers"
)

func TestMain(m *testing.M) {
	servers.ServeIfAsked()
	os.Exit(m.Run())
}

func TestRunMeasuresEverything(t *testing.T) {
	dir := t.TempDir()
	res, err := million.Run(t.Context(), million.Config{
		EventStreams: []int{50, 200}, Loads: 4, Restarts: 2, Idle: -1, ReadAll: 600, Dir: dir,
		Progress: func(line string) { t.Log(line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.ServerVersion == "" || res.ReadAll.Commits != 600 || res.ReadAll.Took <= 0 || len(res.Stages) != 2 {
		t.Errorf("result %+v", res)
	}
	for i, s := range res.Stages {
		streams := []int{50, 200}[i]
		// The stage before was appended to, twice for each load.
		commits := uint64(5*streams + i*2*4)
		if s.EventStreams != streams || s.Commits != commits || s.Fill.Commits != uint64([]int{250, 750}[i]) {
			t.Errorf("stage %d has %d event streams and %d commits, %d of them appended", i, s.EventStreams, s.Commits, s.Fill.Commits)
		}
		if s.Fill.Took <= 0 || s.StoredBytes == 0 || s.DiskBytes < int64(s.StoredBytes) || s.Recovery <= 0 {
			t.Errorf("stage %d: %+v", i, s)
		}
		for name, times := range map[string]million.Times{
			"cold": s.Cold, "warm": s.Warm, "restarted": s.Restarted, "append known": s.AppendKnown,
			"warm, raw": s.WarmRaw, "restarted, raw": s.RestartedRaw, "append unknown": s.AppendUnknown,
		} {
			wantTimes(t, name, times, 4)
		}
		for name, times := range map[string]million.Times{"stops": s.Stops, "restarts": s.Restarts} {
			wantTimes(t, name, times, 2)
		}
		for name, times := range map[string]million.Times{"first": s.First, "first, raw": s.FirstRaw} {
			wantTimes(t, name, times, 1)
		}
	}
	wantEmpty(t, dir)
}

func TestRunThatIsCancelledLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := million.Run(ctx, million.Config{
		EventStreams: []int{50}, Loads: 4, Restarts: 2, Idle: time.Hour, Dir: dir,
		Progress: func(string) { cancel() },
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	wantEmpty(t, dir)
}

func TestRunRefusesStagesWithoutRoom(t *testing.T) {
	for _, streams := range [][]int{{}, {8}, {100, 100}, {100, 50}, {-1}} {
		_, err := million.Run(t.Context(), million.Config{EventStreams: streams, Loads: 4, Restarts: 2, Dir: t.TempDir()})
		if !errors.Is(err, backend.ErrInvalidArgument) {
			t.Errorf("stages %v: error %v", streams, err)
		}
	}
}

func wantTimes(t *testing.T, name string, times million.Times, n int) {
	t.Helper()
	if len(times) != n {
		t.Errorf("%s: %d times, want %d", name, len(times), n)
	}
	for _, d := range times {
		if d <= 0 {
			t.Errorf("%s: %v", name, times)
		}
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, error %v", left, err)
	}
}
