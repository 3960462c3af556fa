// A landing zone: existing subnets, central DNS zones, a private page, a naming policy, and a person who deploys and operates.
using '../../../infra/main.bicep'

param environmentName = 'detection'
param location = 'westeurope'
param workspaceResourceId = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-sentinel/providers/Microsoft.OperationalInsights/workspaces/log-sentinel'
param webhookUrl = 'https://example.com/hook'
param resourceNames = {
  resourceGroup: 'rg-sec-detection-weu'
  identity: 'id-sec-detection-weu'
  workspace: 'log-sec-detection-weu'
  insights: 'appi-sec-detection-weu'
  storage: 'stsecdetectionweu'
  vault: 'kv-sec-detection-weu'
  plan: 'plan-sec-detection-weu'
  app: 'func-sec-detection-weu'
  actionGroup: 'ag-sec-detection-weu'
  network: 'vnet-unused'
  networkSecurityGroup: 'nsg-unused'
}
param privateNetwork = true
param appSubnetId = '/subscriptions/66666666-6666-6666-6666-666666666666/resourceGroups/rg-network/providers/Microsoft.Network/virtualNetworks/vnet-spoke/subnets/flex'
param endpointSubnetId = '/subscriptions/66666666-6666-6666-6666-666666666666/resourceGroups/rg-network/providers/Microsoft.Network/virtualNetworks/vnet-spoke/subnets/endpoints'
param dnsZonesId = '/subscriptions/77777777-7777-7777-7777-777777777777/resourceGroups/rg-dns'
param privatePage = true
param deployerOperates = true
