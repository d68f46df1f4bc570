# ACL policy of a Sluice proxy of pool "main". Replace main by the name of your pool.
#
#   consul acl policy create -name sluice-proxy-main -rules @etc/consul/proxy.hcl
#   consul acl token create -description "sluice proxies of main" -policy-name sluice-proxy-main
#
# Give Sluice the token in a file; a change of the file takes effect without a restart.

# The topology is read and never written.
key_prefix "sluice/main/" {
  policy = "read"
}

# Its own membership. Consul's rules can't say "only the key with my id".
key_prefix "sluice/main/members/" {
  policy = "write"
}

key_prefix "sluice/main/proxies/" {
  policy = "write"
}

key_prefix "sluice/main/acks/" {
  policy = "write"
}

# The session under which it holds proxies/ and acks/. Narrow it to the nodes that proxies run on if they have a prefix.
session_prefix "" {
  policy = "write"
}

# Its registration; the name is that of the service, "sluice" unless configured.
service "sluice" {
  policy = "write"
}

# Groups whose nodes come from the catalog. Not needed when topology/groups names the nodes.
service_prefix "" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}

agent_prefix "" {
  policy = "read"
}
