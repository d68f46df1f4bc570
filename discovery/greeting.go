package discovery

// Greeting is what a connection on which a node is asked something begins with. There is no HELLO: who asks reads RESP2
// only. The reply to CLIENT SETNAME does not matter, that to AUTH does.
func Greeting(username, password, clientName string) [][]string {
	var cmds [][]string
	switch {
	case username != "":
		cmds = append(cmds, []string{"AUTH", username, password})
	case password != "":
		cmds = append(cmds, []string{"AUTH", password})
	}
	if clientName != "" {
		cmds = append(cmds, []string{"CLIENT", "SETNAME", clientName})
	}
	return cmds
}
