package command

import "strings"

// RequestPolicy says to which servers of a cluster one command goes.
type RequestPolicy uint8

// The request policies. RequestDefault means: to the one shard of the keys, or
// to any shard when there is no key.
const (
	RequestDefault    RequestPolicy = iota
	RequestAllNodes                 // every master and every replica
	RequestAllShards                // every master
	RequestMultiShard               // split by slot
	RequestSpecial                  // none of these; the proxy must know the command
)

// ResponsePolicy says how the replies of several servers become one.
type ResponsePolicy uint8

// The response policies. ResponseDefault means: join the arrays, or put the
// replies in the order of the keys when there are keys.
const (
	ResponseDefault       ResponsePolicy = iota
	ResponseOneSucceeded                 // the first that is not an error
	ResponseAllSucceeded                 // any one, but the error if there is one
	ResponseAggLogicalAnd                // element-wise when the reply is an array
	ResponseAggLogicalOr
	ResponseAggMin
	ResponseAggMax
	ResponseAggSum
	ResponseSpecial // none of these; the proxy must know the command
)

var requestNames = [...]string{"default", "all_nodes", "all_shards", "multi_shard", "special"}

var responseNames = [...]string{
	"default", "one_succeeded", "all_succeeded", "agg_logical_and", "agg_logical_or",
	"agg_min", "agg_max", "agg_sum", "special",
}

// String returns the policy as Redis spells it in a tip.
func (p RequestPolicy) String() string { return requestNames[p] }

// String returns the policy as Redis spells it in a tip.
func (p ResponsePolicy) String() string { return responseNames[p] }

// policies reads the two policies out of the tips.
func policies(tips []string) (RequestPolicy, ResponsePolicy) {
	var request RequestPolicy
	var response ResponsePolicy
	for _, tip := range tips {
		if name, ok := strings.CutPrefix(tip, "request_policy:"); ok {
			request = RequestPolicy(policyIndex(name, requestNames[:]))
		}
		if name, ok := strings.CutPrefix(tip, "response_policy:"); ok {
			response = ResponsePolicy(policyIndex(name, responseNames[:]))
		}
	}
	return request, response
}

func policyIndex(name string, names []string) int {
	for i, s := range names {
		if s == name {
			return i
		}
	}
	panic("BUG: unknown policy " + name + " in the command table")
}
