package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// generated describes a history to make up.
type generated struct {
	commits int
	files   int // about how many there are at a time
	seed    uint64
}

// fastImport makes up a history, with branches and merges, in which files are
// created, changed, renamed and deleted, and puts it on the branch main.
func (r *testRepo) fastImport(g generated) {
	r.t.Helper()
	rng := rand.New(rand.NewPCG(g.seed, 1))
	var b bytes.Buffer
	live := map[string][]string{"main": nil, "side": nil} // the files of each branch
	tips := map[string]int{}                              // the mark of each branch's last commit
	name := 0
	for i := range g.commits {
		branch := "main"
		if i > 0 && rng.IntN(4) == 0 {
			branch = "side"
		}
		fmt.Fprintf(&b, "commit refs/heads/%s\nmark :%d\n", branch, i+1)
		fmt.Fprintf(&b, "author A%d <a%d@example.org> %d +0100\n", i%7, i%7, 1767225600+60*i)
		fmt.Fprintf(&b, "committer C <c@example.org> %d +0100\n", 1767225600+60*i)
		subject := fmt.Sprintf("commit %d", i)
		fmt.Fprintf(&b, "data %d\n%s\n", len(subject), subject)
		switch {
		case branch == "side" && (len(live["side"]) == 0 || rng.IntN(3) == 0):
			// The side branch starts anew from main.
			fmt.Fprintf(&b, "from :%d\n", tips["main"])
			live["side"] = append([]string(nil), live["main"]...)
		case branch == "main" && rng.IntN(12) == 0 && len(live["side"]) > 0:
			// A merge with changes of its own, which the walk leaves out.
			fmt.Fprintf(&b, "merge :%d\n", tips["side"])
		}
		tips[branch] = i + 1
		files := live[branch]
		touched := map[string]bool{}
		for range 1 + rng.IntN(4) {
			op := rng.IntN(20)
			pick := -1
			if len(files) > 0 {
				if pick = rng.IntN(len(files)); touched[files[pick]] {
					continue
				}
			}
			switch {
			case pick < 0 || len(files) < g.files && op < 8:
				f := fmt.Sprintf("dir%d/sub.%d/file %d.go", name%5, name%3, name)
				name++
				files = append(files, f)
				touched[f] = true
				content(&b, rng, f)
			case op == 18:
				to := fmt.Sprintf("moved/%d.txt", name)
				name++
				fmt.Fprintf(&b, "R %q %q\n", files[pick], to)
				touched[files[pick]], touched[to] = true, true
				files[pick] = to
			case op == 19:
				fmt.Fprintf(&b, "D %q\n", files[pick])
				touched[files[pick]] = true
				files = append(files[:pick], files[pick+1:]...)
			default:
				touched[files[pick]] = true
				content(&b, rng, files[pick])
			}
		}
		live[branch] = files
		b.WriteByte('\n')
	}
	r.gitWith(b.Bytes(), "fast-import", "--quiet", "--force")
	r.t.Logf("generated %d commits", g.commits)
}

func content(b *bytes.Buffer, rng *rand.Rand, file string) {
	var text bytes.Buffer
	for range 5 + rng.IntN(10) {
		fmt.Fprintf(&text, "line %d\n", rng.IntN(1000))
	}
	fmt.Fprintf(b, "M 100644 inline %q\ndata %d\n%s\n", file, text.Len(), text.String())
}
