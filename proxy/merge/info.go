package merge

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Of the texts that masters answer to INFO one is made, field by field. Numbers are added up: what a pool uses, holds
// and does. Where a sum means nothing it is the largest (a time, a ratio, a setting, whether something is going on),
// or the least where the worst is the least. Words are shown once if all say the same, and else one after the other,
// "noeviction|allkeys-lru".

// Sections are those of the INFO of several servers, by name in lower case. Immutable after Info.
type Sections map[string]*Fields

// Fields are those of a section in the order in which servers show them.
type Fields struct {
	title  string
	order  []string
	values map[string][]string
}

// Info puts the texts of servers together.
func Info(texts []string) Sections {
	all := make(Sections)
	for _, text := range texts {
		var section *Fields
		for line := range strings.SplitSeq(text, "\n") {
			line = strings.TrimRight(line, "\r")
			if title, ok := strings.CutPrefix(line, "# "); ok {
				if !strings.Contains(title, ":") { // Pika has times there.
					section = all.section(title)
				}
				continue
			}
			if name, value, ok := strings.Cut(line, ":"); ok && section != nil {
				section.add(name, value)
			}
		}
	}
	return all
}

func (all Sections) section(title string) *Fields {
	name := strings.ToLower(title)
	if all[name] == nil {
		all[name] = &Fields{title: title, values: make(map[string][]string)}
	}
	return all[name]
}

func (s *Fields) add(name, value string) {
	if name == "module" { // One line for each module, by the same name.
		if !slices.Contains(s.values[name+":"+value], value) {
			s.order, s.values[name+":"+value] = append(s.order, name+":"+value), []string{value}
		}
		return
	}
	if s.values[name] == nil {
		s.order = append(s.order, name)
	}
	s.values[name] = append(s.values[name], value)
}

// Write appends the fields that are not there already, as lines of INFO. s may be nil, and has none then.
func (s *Fields) Write(b *strings.Builder, there func(name string) bool) {
	if s == nil {
		return
	}
	for _, name := range s.order {
		if there(name) {
			continue
		}
		if strings.HasPrefix(name, "module:") {
			b.WriteString(name + "\r\n")
			continue
		}
		fmt.Fprintf(b, "%s:%s\r\n", name, s.value(name))
	}
}

// value is what all servers together have of a field.
func (s *Fields) value(name string) string {
	values := s.values[name]
	switch {
	case len(values) == 1:
		return values[0]
	case s.title == "Keyspace":
		return mergeKeyspace(values)
	case strings.Contains(values[0], "="):
		return mergePairs(name, values)
	case strings.HasSuffix(name, "_human") && s.values[strings.TrimSuffix(name, "_human")] != nil:
		bytes, _ := strconv.ParseFloat(s.value(strings.TrimSuffix(name, "_human")), 64)
		return humanBytes(bytes)
	}
	return mergeNumbers(name, values)
}

// mergeNumbers adds up, or chooses one. Words stay words.
func mergeNumbers(name string, values []string) string {
	numbers := make([]float64, len(values))
	integers := true
	for i, v := range values {
		n, err := strconv.ParseFloat(strings.TrimSuffix(v, "%"), 64)
		if err != nil || strings.Contains(name, "sha1") || math.IsNaN(n) || math.IsInf(n, 0) {
			return mergeWords(values)
		}
		numbers[i], integers = n, integers && !strings.ContainsAny(v, ".%eE")
	}
	merged := numbers[0]
	for _, n := range numbers[1:] {
		switch {
		case name == "maxmemory" && (n == 0 || merged == 0):
			merged = 0 // One without a limit: the pool has none.
		case name == "rdb_last_save_time":
			merged = min(merged, n) // All that was written before is saved.
		case isLevel(name):
			merged = max(merged, n)
		default:
			merged += n
		}
	}
	switch {
	case integers:
		return strconv.FormatFloat(merged, 'f', 0, 64)
	case strings.HasSuffix(values[0], "%"):
		return fmt.Sprintf("%.2f%%", merged)
	}
	_, digits, _ := strings.Cut(values[0], ".")
	return strconv.FormatFloat(merged, 'f', len(digits), 64)
}

// levels are parts of names of fields that tell how things are, and are no amounts.
var levels = []string{
	"_ratio", "_perc", "_in_progress", "_enabled", "_scheduled", "_time_sec", "_time_usec", "_max_", "_cow_size_age",
	"_usec_per_", "uptime_", "loading",
	"_git_dirty", "arch_bits", "threads_active", "lru_clock", "number_of_functions", "number_of_libraries",
	"active_defrag_running", "process_id", "_failures", "latest_fork_usec",
}

// isLevel reports whether the largest value of a field says more than the sum.
func isLevel(name string) bool {
	return name == "hz" || name == "configured_hz" ||
		slices.ContainsFunc(levels, func(part string) bool { return strings.Contains(name, part) })
}

// mergeWords shows each once.
func mergeWords(values []string) string {
	var each []string
	for _, v := range values {
		if !slices.Contains(each, v) {
			each = append(each, v)
		}
	}
	return strings.Join(each, "|")
}

// mergePairs merges "count=3" and "p50=1.003,p99=2.007", name by name. Times of a percentile can't be added up: the
// worst counts.
func mergePairs(name string, values []string) string {
	var order []string
	all := make(map[string][]string)
	for _, value := range values {
		for pair := range strings.SplitSeq(value, ",") {
			field, v, _ := strings.Cut(pair, "=")
			if all[field] == nil {
				order = append(order, field)
			}
			all[field] = append(all[field], v)
		}
	}
	merged := make([]string, len(order))
	for i, field := range order {
		rule := field
		if strings.HasPrefix(name, "latency_percentiles") {
			rule = "_max_"
		}
		merged[i] = field + "=" + mergeNumbers(rule, all[field])
	}
	return strings.Join(merged, ",")
}

// mergeKeyspace adds up "keys=3,expires=1,avg_ttl=500"; the mean of the times to live counts each key that expires.
func mergeKeyspace(values []string) string {
	ttl, expires := 0.0, 0.0
	for _, value := range values {
		n, _ := strconv.ParseFloat(pairOf(value, "expires"), 64)
		mean, _ := strconv.ParseFloat(pairOf(value, "avg_ttl"), 64)
		ttl, expires = ttl+n*mean, expires+n
	}
	merged := mergePairs("", values)
	if sum := pairOf(merged, "avg_ttl"); sum != "" {
		merged = strings.Replace(merged, "avg_ttl="+sum, fmt.Sprintf("avg_ttl=%d", int64(ttl/max(expires, 1))), 1)
	}
	return merged
}

// pairOf is the value of a name in "name=value,name=value".
func pairOf(pairs, name string) string {
	for pair := range strings.SplitSeq(pairs, ",") {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// humanBytes writes a size as Redis does (redis 7.0, src/server.c bytesToHuman).
func humanBytes(n float64) string {
	units := "BKMGTP"
	i := 0
	for n >= 1024 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%.0fB", n)
	}
	return fmt.Sprintf("%.2f%c", n, units[i])
}
