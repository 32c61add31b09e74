package followers

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
)

// memoryOf reads what a process has of memory from /proc/<pid>/status; of Go's
// objects it tells this process's.
func memoryOf(pid int) (Memory, error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	status, err := os.ReadFile(path)
	if err != nil {
		return Memory{}, err
	}
	m := Memory{Heap: heap()}
	for line := range bytes.Lines(status) {
		fields := bytes.Fields(line)
		if len(fields) != 3 || string(fields[2]) != "kB" {
			continue
		}
		kB, err := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil {
			return Memory{}, fmt.Errorf("%s: %w", path, err)
		}
		switch string(fields[0]) {
		case "VmRSS:":
			m.RSS = kB << 10
		case "VmHWM:":
			m.Peak = kB << 10
		}
	}
	return m, nil
}

func heap() int64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
