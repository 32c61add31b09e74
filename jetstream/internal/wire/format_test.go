package wire

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/FORMAT.md numbers its rules without a gap, and every test that it names
// exists.
func TestTheSpecificationNamesTestsThatExist(t *testing.T) {
	text, err := os.ReadFile("../../../docs/FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := regexp.MustCompile(`(?m)^- \*\*F(\d+)\*\*`).FindAllSubmatch(text, -1)
	for i, rule := range rules {
		if string(rule[1]) != fmt.Sprint(i+1) {
			t.Errorf("rule F%s is the %d-th", rule[1], i+1)
		}
	}
	var sources strings.Builder
	for _, pattern := range []string{"*_test.go", "../../*_test.go", "../../../*_test.go", "../../../internal/contracttest/*_test.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(source)
		}
	}
	names := regexp.MustCompile("`((?:Test|Fuzz|C/)[^`]+)`").FindAllSubmatch(text, -1)
	for _, name := range names {
		want := "func " + string(name[1]) + "("
		if name := string(name[1]); name == "C/…" {
			continue
		} else if subtest, ok := strings.CutPrefix(name, "C/"); ok {
			want = `t.Run("` + subtest + `"`
		} else if start, ok := strings.CutSuffix(name, "…"); ok {
			want = "func " + start
		}
		if !strings.Contains(sources.String(), want) {
			t.Errorf("no test is named %s", name[1])
		}
	}
	if len(rules) < 40 || len(names) < len(rules) {
		t.Errorf("%d rules, %d tests named", len(rules), len(names))
	}
}
