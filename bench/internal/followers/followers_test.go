package followers_test

import (
	"os"
	"runtime"
	"testing"

	"github.com/tributary-es/tributary/bench/internal/followers"
	"github.com/tributary-es/tributary/bench/internal/servers"
)

func TestMain(m *testing.M) {
	servers.ServeIfAsked()
	followers.FollowIfAsked()
	os.Exit(m.Run())
}

func TestRunMeasuresEverything(t *testing.T) {
	res, err := followers.Run(t.Context(), followers.Config{Streams: 200, Commits: 2, Progress: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	if res.Streams != 200 || res.Commits != 2 || res.CaughtUp <= 0 || res.Appended <= 0 || res.Arrived < res.Appended/2 || res.Ended <= 0 ||
		res.Goroutines < 200 || res.Consumers == 0 || res.Consumers > 200 || res.Left != 0 {
		t.Errorf("result %+v", res)
	}
	for _, m := range []followers.Memory{res.Before, res.Following, res.After} {
		if m.Heap <= 0 || runtime.GOOS == "linux" && (m.RSS <= 0 || m.Peak < m.RSS) {
			t.Errorf("memory %+v", m)
		}
	}
}
