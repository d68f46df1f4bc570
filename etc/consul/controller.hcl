# ACL policy of the controller of pool "main", and of operators who use `sluice ctl` with Consul. Replace main by the name
# of your pool.
#
#   consul acl policy create -name sluice-controller-main -rules @etc/consul/controller.hcl
#   consul acl token create -description "sluice controller of main" -policy-name sluice-controller-main

# The topology, the leader's lock, and the members it may declare gone.
key_prefix "sluice/main/" {
  policy = "write"
}

# The session of the leader's lock.
session_prefix "" {
  policy = "write"
}

# Where the proxies and the groups' nodes are.
service_prefix "" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}
