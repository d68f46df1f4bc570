package conf

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestProblemsAreNamedInWords compares what is said about each testdata/*.toml with the .want file
// beside it. "ok" means that nothing is wrong.
func TestProblemsAreNamedInWords(t *testing.T) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := "ok\n"
			// The name is in testdata for the password files, and shortened for the .want file.
			if _, err := Parse(file, data); err != nil {
				got = strings.ReplaceAll(err.Error(), "testdata/", "") + "\n"
				checkProblems(t, err)
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("a password is in the problems:\n%s", got)
			}
			wantFile := strings.TrimSuffix(file, ".toml") + ".want"
			if *update {
				if err := os.WriteFile(wantFile, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("problems differ (-want +got), -update accepts them:\n%s", diff)
			}
		})
	}
}

// checkProblems sees to what holds for every error of Parse.
func checkProblems(t *testing.T, err error) {
	t.Helper()
	var problems Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("the error is %T and not Problems", err)
	}
	for _, p := range problems {
		if p.Line < 1 {
			t.Errorf("no line: %v", p)
		}
		if p.Msg == "" || strings.ContainsAny(p.Error(), "\n\r") {
			t.Errorf("not one line with a message: %q", p.Error())
		}
		if p.Hint == "" {
			t.Errorf("no hint: %v", p)
		}
	}
}

// TestNestingWithoutEndTakesNoMemory is about files that nobody writes by hand.
func TestNestingWithoutEndTakesNoMemory(t *testing.T) {
	const n = 9000 // the TOML library stops at 10000 levels
	for _, doc := range []string{
		"x = " + strings.Repeat("[", n) + strings.Repeat("]", n),
		"x = " + strings.Repeat("{a = ", n) + "1" + strings.Repeat("}", n),
		strings.Repeat("a.", n) + "a = 1",
		"[[" + strings.Repeat("a.", n) + "a]]\nb = 1",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse("x.toml", []byte(doc))
		runtime.ReadMemStats(&after)
		checkProblems(t, err)
		if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 100 {
			t.Errorf("%.20s...: %d MB", doc, mb)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.toml")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(Documented)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("fuzz.toml", data)
		if err != nil {
			checkProblems(t, err)
			return
		}
		again, err := Parse("fuzz.toml", []byte(c.String()))
		if err != nil {
			if strings.Contains(err.Error(), "is the mask that stands for a password") {
				return
			}
			t.Fatalf("printed, it does not parse:\n%v\n%v", err, c)
		}
		if apply, restart := Diff(c, again); len(apply)+len(restart) > 0 {
			t.Fatalf("printed and parsed, it differs: %v %v\n%v", apply, restart, c)
		}
	})
}
