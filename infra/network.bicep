// Optional: storage and vault behind private endpoints, and the app in the same virtual network.
param location string
param tags { *: string }
param token string

param networkName string
param guardName string

@description('Address range of the virtual network, at least a /25.')
param addressPrefix string

@description('Existing subnets, instead of an own network; both empty, or neither.')
param appSubnetId string
param endpointSubnetId string

@description('Resource group with central DNS zones; own zones if empty, no records if "policy".')
param dnsZonesId string

param storageId string
param vaultId string

var endpoints = [
  { name: 'blob', group: 'blob', zone: 'privatelink.blob.${environment().suffixes.storage}' }
  { name: 'table', group: 'table', zone: 'privatelink.table.${environment().suffixes.storage}' }
  // '.vault.azure.net' and its counterparts in other clouds become 'privatelink.vaultcore.azure.net'
  {
    name: 'vault'
    group: 'vault'
    zone: 'privatelink${replace(environment().suffixes.keyvaultDns, '.vault.', '.vaultcore.')}'
  }
]

var subnets = {
  app: empty(appSubnetId) ? '${network.id}/subnets/app' : appSubnetId
  endpoints: empty(appSubnetId) ? '${network.id}/subnets/endpoints' : endpointSubnetId
}

// Only the built-in rules: they block traffic from the internet and allow the app's outgoing traffic.
resource guard 'Microsoft.Network/networkSecurityGroups@2025-09-01' = if (empty(appSubnetId)) {
  name: guardName
  location: location
  tags: tags
}

resource network 'Microsoft.Network/virtualNetworks@2025-09-01' = if (empty(appSubnetId)) {
  name: networkName
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: [addressPrefix] }
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 26, 0)
          networkSecurityGroup: { id: guard.id }
          delegations: [
            { name: 'flex', properties: { serviceName: 'Microsoft.App/environments' } }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 26, 1)
          networkSecurityGroup: { id: guard.id }
        }
      }
    ]
  }
}

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for endpoint in endpoints: if (empty(dnsZonesId)) {
    name: endpoint.zone
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (endpoint, i) in endpoints: if (empty(dnsZonesId)) {
    parent: zones[i]
    name: 'link-${token}'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: empty(appSubnetId)
          ? network.id
          : resourceId(
              split(appSubnetId, '/')[2],
              split(appSubnetId, '/')[4],
              'Microsoft.Network/virtualNetworks',
              split(appSubnetId, '/')[8]
            )
      }
    }
  }
]

// Endpoints and their records are created one at a time: parallel creation for one account in one subnet sometimes
// fails (Azure/bicep-registry-modules 962 and 6001).
@batchSize(1)
resource privateEndpoints 'Microsoft.Network/privateEndpoints@2025-09-01' = [
  for endpoint in endpoints: {
    name: 'pe-${endpoint.name}-${token}'
    location: location
    tags: tags
    properties: {
      subnet: { id: subnets.endpoints }
      privateLinkServiceConnections: [
        {
          name: endpoint.name
          properties: {
            privateLinkServiceId: endpoint.group == 'vault' ? vaultId : storageId
            groupIds: [endpoint.group]
          }
        }
      ]
    }
  }
]

@batchSize(1)
resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-09-01' = [
  for (endpoint, i) in endpoints: if (dnsZonesId != 'policy') {
    parent: privateEndpoints[i]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: endpoint.name
          properties: {
            privateDnsZoneId: empty(dnsZonesId)
              ? zones[i].id
              : '${dnsZonesId}/providers/Microsoft.Network/privateDnsZones/${endpoint.zone}'
          }
        }
      ]
    }
  }
]

// Available only after the names resolve to private addresses: the app must not start earlier.
output appSubnetId string = subnets.app
output endpointSubnetId string = subnets.endpoints
output id string = first(split(subnets.app, '/subnets/'))
