package testbed

import "testing"

// Each test gets a cluster of its own, and none is left when the tests are over.
func TestSpareClusters(t *testing.T) {
	s := newSpareClusters()
	seen := make(map[string]bool)
	var nodes []*Server
	for range 3 {
		c, err := s.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range c.Nodes() {
			endWithTest(t, n)
			if nodes = append(nodes, n); seen[n.Addr()] {
				t.Errorf("%s is given twice", n.Addr())
			}
			seen[n.Addr()] = true
		}
		if err := c.agree(); err != nil {
			t.Error(err)
		}
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	for _, n := range nodes {
		if !n.answers() {
			t.Errorf("%s was taken, and has ended with the spares", n.Addr())
		}
	}
	if got, open := <-s.ready; open {
		t.Errorf("a spare is left: %v", got)
	}
}
