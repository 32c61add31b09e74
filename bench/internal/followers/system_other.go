//go:build !linux

package followers

import "runtime"

func memoryOf(int) (Memory, error) {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return Memory{Heap: int64(stats.HeapAlloc)}, nil
}
